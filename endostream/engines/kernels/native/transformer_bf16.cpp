// The kernels of a vision transformer for AVX-512 with bfloat16 products: every linear layer is the matrix
// product of matrix.h with what follows it done while its sums are in the cache.
#include "targets.h"
#if defined(ENDOSTREAM_X86)
TARGET_BEGIN("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma,avx2")
#include "bf16.h"
#include "matrix.h"
#include "transformer.h"

namespace {

constexpr int W = HEAD / LANES;

inline V power_of_two(V x) {
    const V whole = _mm512_roundscale_ps(x, 0), part = minus(x, whole);
    V p = spread(1.3397e-3f);
    p = plus_product(spread(9.6180e-3f), p, part);
    p = plus_product(spread(5.55041e-2f), p, part);
    p = plus_product(spread(2.402265e-1f), p, part);
    p = plus_product(spread(6.931472e-1f), p, part);
    p = plus_product(spread(1.0f), p, part);
    return _mm512_scalef_ps(p, whole);
}

// x times the normal distribution function; an odd polynomial stands for erf(x / sqrt 2) between -4 and 4,
// where it is within 4.3e-5.
inline V gelu(V x) {
    const V u = _mm512_max_ps(_mm512_min_ps(x, spread(4.0f)), spread(-4.0f)), s = times(u, u);
    V p = spread(-3.16386251e-9f);
    p = plus_product(spread(2.4354872e-7f), p, s);
    p = plus_product(spread(-8.2045075e-6f), p, s);
    p = plus_product(spread(1.61365508e-4f), p, s);
    p = plus_product(spread(-2.09658893e-3f), p, s);
    p = plus_product(spread(1.93302831e-2f), p, s);
    p = plus_product(spread(-1.32351445e-1f), p, s);
    p = plus_product(spread(7.97695271e-1f), p, s);
    const V half = times(spread(0.5f), x);
    return plus_product(half, half, times(u, p));
}

// Rows `first` to `last` of one panel of a linear layer, a few at a time; `take` is given the first of them,
// how many, and their sums float32[n, 64].
template <typename Take>
inline void panel(const Linear *l, const E *from, int number, int first, int last, char *scratch, Take take) {
    float *sums = (float *)scratch;
    const E *weights = l->weights + (ptrdiff_t)number * l->inputs * HEAD;
    for (int r = first; r < last; r += ROWS_AT_ONCE) {
        const int n = last - r < ROWS_AT_ONCE ? last - r : ROWS_AT_ONCE;
        product<W>(from + (ptrdiff_t)r * l->inputs, l->inputs, n, weights, l->inputs, sums);
        take(r, n, sums);
    }
}

void pack(const float *weights, int outputs, int inputs, uint16_t *packed) {
    for (int k = 0; k < outputs; k++) {
        E *to = packed + (ptrdiff_t)(k / HEAD) * inputs * HEAD;
        for (int c = 0; c < inputs; c++) {
            to[((ptrdiff_t)(c / PAIR) * HEAD + k % HEAD) * PAIR + c % PAIR] =
                rounded(weights[(ptrdiff_t)k * inputs + c]);
        }
    }
}

int padded(int tokens) { return (tokens + 15) / 16 * 16; }

size_t scratch_of(const Tokens *t) {
    return sizeof(float) * ROWS_AT_ONCE * ((size_t)padded(t->count) + 128 + t->dim) +
           sizeof(E) * ROWS_AT_ONCE * ((size_t)padded(t->count) + 64);
}

void cut(const Tokens *t, int row) {
    const int size = t->patch, width = t->columns * size, area = width * t->rows * size;
    for (int column = 0; column < t->columns; column++) {
        E *to = t->patches + ((ptrdiff_t)row * t->columns + column) * 3 * size * size;
        for (int c = 0; c < 3; c++) {
            for (int y = 0; y < size; y++) {
                const float *from =
                    t->picture + (ptrdiff_t)c * area + (ptrdiff_t)(row * size + y) * width + column * size;
                for (int x = 0; x < size; x++) *to++ = rounded(from[x]);
            }
        }
    }
}

void embed(const Tokens *t, int number, int first, int last, char *scratch) {
    panel(&t->embed, t->patches, number, first, last, scratch, [&](int r, int n, const float *sums) {
        for (int i = 0; i < n; i++) {
            const ptrdiff_t at = (ptrdiff_t)(r + i + 1) * t->dim + number * HEAD;
            for (int k = 0; k < HEAD; k += LANES)
                put(t->x + at + k, plus(get(sums + i * HEAD + k), get(t->start + at + k)));
        }
    });
    if (first == 0) {
        for (int k = number * HEAD; k < (number + 1) * HEAD; k += LANES) put(t->x + k, get(t->start + k));
    }
}

// A token with mean 0 and variance 1, to `take(k, values)`.
template <typename Take>
inline void normalise(const Tokens *t, int row, Take take) {
    const float *x = t->x + (ptrdiff_t)row * t->dim;
    V sum = spread(0.0f);
    for (int k = 0; k < t->dim; k += LANES) sum = plus(sum, get(x + k));
    const V mean = spread(total(sum) / (float)t->dim);
    V squares = spread(0.0f);
    for (int k = 0; k < t->dim; k += LANES) {
        const V d = minus(get(x + k), mean);
        squares = plus_product(squares, d, d);
    }
    const float variance = total(squares) / (float)t->dim;
    const V scale = spread(1.0f / __builtin_sqrtf(variance + 1e-6f));
    for (int k = 0; k < t->dim; k += LANES) take(k, times(minus(get(x + k), mean), scale));
}

void norm(const Tokens *t, int first, int last) {
    for (int r = first; r < last; r++) {
        E *to = t->normed + (ptrdiff_t)r * t->dim;
        normalise(t, r, [&](int k, V v) { store(to + k, v); });
    }
}

// Sixteen pairs (a, b) of bfloat16 from two vectors.
inline __m512i pairs(V a, V b) {
    const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(a));
    const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(b));
    return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

// One head's queries, keys or values for some tokens, each laid out for its product.
void attend_in(const Tokens *t, const Linear *l, int number, int first, int last, char *scratch) {
    const int kind = number / t->heads, head = number % t->heads, whole = t->count / HEAD * HEAD;
    const int rest = t->count - whole, narrow = rest <= 16 ? 16 : rest <= 32 ? 32 : 64;
    E *keys = t->keys + (ptrdiff_t)head * key_elements(t->count);
    E *values = t->values + (ptrdiff_t)head * value_elements(t->count);
    panel(l, t->normed, number, first, last, scratch, [&](int r, int n, const float *sums) {
        const float *bias = l->bias + number * HEAD;
        for (int i = 0; i < n; i++) {
            const float *s = sums + i * HEAD;
            const int token = r + i;
            V v[W];
            for (int w = 0; w < W; w++) v[w] = plus(get(s + w * LANES), get(bias + w * LANES));
            if (kind == 0) {
                E *to = t->queries + ((ptrdiff_t)head * t->count + token) * HEAD;
                for (int w = 0; w < W; w++) store(to + w * LANES, v[w]);
            } else if (kind == 1) {
                // Pairs of channels of one token lie a panel's width apart.
                const int width = token < whole ? HEAD : narrow;
                int *to = (int *)(keys + (ptrdiff_t)(token / HEAD) * HEAD * HEAD) + token % HEAD;
                const __m512i step = _mm512_mullo_epi32(
                    _mm512_set1_epi32(width),
                    _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
                for (int w = 0; w < W; w += 2) {
                    const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(v[w + 1], v[w]);
                    _mm512_i32scatter_epi32(to + (ptrdiff_t)w * 8 * width, step, both, 4);
                }
            } else if (token % 2 == 0) {
                // Two tokens side by side; after the last one of an odd count comes a zero.
                const bool two = i + 1 < n;
                int *to = (int *)(values + (ptrdiff_t)token * HEAD);
                for (int w = 0; w < W; w++) {
                    const V next =
                        two ? plus(get(s + HEAD + w * LANES), get(bias + w * LANES)) : spread(0.0f);
                    _mm512_storeu_si512(to + w * LANES, pairs(v[w], next));
                }
            }
        }
    });
}

// What some tokens take from all others through one head. Queries carry the scale and the base 2 already.
void attend(const Tokens *t, int head, int first, int last, char *scratch) {
    const int wide = padded(t->count), whole = t->count / HEAD * HEAD, even = (t->count + 1) / 2 * 2;
    const int rest = t->count - whole, narrow = rest <= 16 ? 16 : rest <= 32 ? 32 : 64;
    float *scores = (float *)scratch;
    float *sums = scores + ROWS_AT_ONCE * (wide + 64);
    E *shares = (E *)(sums + ROWS_AT_ONCE * HEAD);
    const E *keys = t->keys + (ptrdiff_t)head * key_elements(t->count);
    const E *values = t->values + (ptrdiff_t)head * value_elements(t->count);
    const __mmask16 tail = rest % 16 ? (__mmask16)((1u << (rest % 16)) - 1) : (__mmask16)0xffff;
    const V lowest = spread(-3e38f);
    for (int r = first; r < last; r += ROWS_AT_ONCE) {
        const int n = last - r < ROWS_AT_ONCE ? last - r : ROWS_AT_ONCE;
        const E *queries = t->queries + ((ptrdiff_t)head * t->count + r) * HEAD;
        for (int p = 0; p < whole; p += HEAD)
            product<W>(queries, HEAD, n, keys + (ptrdiff_t)p * HEAD, HEAD, scores + p * n);
        if (rest)
            panel_product(narrow, queries, HEAD, n, keys + (ptrdiff_t)whole * HEAD, HEAD, scores + whole * n);
        float scale[ROWS_AT_ONCE];
        for (int i = 0; i < n; i++) {
            // The scores of a row lie in pieces, one per panel.
            V most = lowest;
            for (int c = 0; c < t->count; c += LANES) {
                const float *s = c < whole ? scores + c / HEAD * HEAD * n + i * HEAD + c % HEAD
                                           : scores + whole * n + i * narrow + (c - whole);
                const V v = get(s);
                most = larger(most, c + LANES > t->count ? _mm512_mask_mov_ps(lowest, tail, v) : v);
            }
            const V top = spread(_mm512_reduce_max_ps(most));
            V sum = spread(0.0f);
            E *share = shares + i * (wide + 16);
            for (int c = 0; c < t->count; c += LANES) {
                const float *s = c < whole ? scores + c / HEAD * HEAD * n + i * HEAD + c % HEAD
                                           : scores + whole * n + i * narrow + (c - whole);
                V e = power_of_two(minus(get(s), top));
                if (c + LANES > t->count) e = _mm512_maskz_mov_ps(tail, e);
                sum = plus(sum, e);
                store(share + c, e);
            }
            scale[i] = 1.0f / total(sum);
        }
        product<W>(shares, wide + 16, n, values, even, sums);
        for (int i = 0; i < n; i++) {
            E *to = t->mixed + (ptrdiff_t)(r + i) * t->dim + head * HEAD;
            for (int k = 0; k < HEAD; k += LANES)
                store(to + k, times(get(sums + i * HEAD + k), spread(scale[i])));
        }
    }
}

// A linear layer whose outputs are added to the tokens.
void add(const Tokens *t, const Linear *l, const uint16_t *from, int number, int first, int last,
         char *scratch) {
    panel(l, from, number, first, last, scratch, [&](int r, int n, const float *sums) {
        for (int i = 0; i < n; i++) {
            float *x = t->x + (ptrdiff_t)(r + i) * t->dim + number * HEAD;
            for (int k = 0; k < HEAD; k += LANES) {
                put(x + k,
                    plus(get(x + k), plus(get(sums + i * HEAD + k), get(l->bias + number * HEAD + k))));
            }
        }
    });
}

void widen(const Tokens *t, const Linear *l, int number, int first, int last, char *scratch) {
    panel(l, t->normed, number, first, last, scratch, [&](int r, int n, const float *sums) {
        for (int i = 0; i < n; i++) {
            E *to = t->wide + (ptrdiff_t)(r + i) * t->hidden + number * HEAD;
            for (int k = 0; k < HEAD; k += LANES) {
                store(to + k, gelu(plus(get(sums + i * HEAD + k), get(l->bias + number * HEAD + k))));
            }
        }
    });
}

// Logits from the first token, class maps from the others.
void finish(const Tokens *t, int first, int last, char *scratch) {
    float *normed = (float *)scratch;
    const int places = t->rows * t->columns;
    for (int r = first; r < last; r++) {
        normalise(t, r, [&](int k, V v) { put(normed + k, v); });
        for (int c = 0; c < t->classes; c++) {
            const float *w = t->head + (ptrdiff_t)c * t->dim;
            V sum = spread(0.0f);
            for (int k = 0; k < t->dim; k += LANES) sum = plus_product(sum, get(normed + k), get(w + k));
            if (r == 0) {
                t->logits[c] = total(sum) + t->head_bias[c];
            } else {
                t->maps[(ptrdiff_t)c * places + r - 1] = total(sum) + t->map_bias[c];
            }
        }
    }
}

constexpr TransformerSet SET = {pack, scratch_of, cut, embed, norm, attend_in, attend, add, widen, finish};

}  // namespace
TARGET_END

const TransformerSet *transformer_bf16() { return &SET; }
#else
#include "transformer.h"
const TransformerSet *transformer_bf16() { return nullptr; }
#endif
