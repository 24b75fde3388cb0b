// The kernels themselves, compiled once per instruction set by a file that defines beforehand:
//
//   V, LANES       a vector of float32 and how many it holds
//   E, PAIR        an activation, and how many neighbouring inputs one multiplication takes
//   VECTORS        widest panel in vectors; ROWS  most rows of the matrix product held in registers
//   load, store    activations from and to memory, as float32
//   factors        a vector of weights; repeated  one input (or PAIR of them) in every lane
//   dot            a sum, and onto it the product of both
//
// Winograd's minimal filtering: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR
// 2016. F(4x4, 3x3) computes 4x4 outputs from a 6x6 tile with 36 products instead of 144. The usual points 0,
// 1, -1, 2, -2 and infinity double the error of bfloat16 against 0, 5/8, -5/8, 3/2, -3/2 (Barabasz et al.,
// "Error Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural Networks", TOMS 2020, on
// points).

#include "matrix.h"

namespace {

constexpr float A = 0.625f, B = 1.5f;
constexpr float A2 = A * A, B2 = B * B, A3 = A2 * A, B3 = B2 * B;
constexpr int TILE = 6, STEP = 4, SPOTS = TILE * TILE;
constexpr size_t PAGE = 4096;

inline size_t paged(size_t bytes) { return (bytes + PAGE - 1) / PAGE * PAGE; }

// Six values of a line of the tile, transformed in place (B^T d).
INLINE void to_points(V *x, int step) {
    V &x0 = x[0], &x1 = x[step], &x2 = x[2 * step], &x3 = x[3 * step], &x4 = x[4 * step], &x5 = x[5 * step];
    const V p = minus_product(x4, spread(B2), x2), q = times(spread(A), minus_product(x3, spread(B2), x1));
    const V r = minus_product(x4, spread(A2), x2), s = times(spread(B), minus_product(x3, spread(A2), x1));
    const V zero = plus_product(minus_product(x4, spread(A2 + B2), x2), spread(A2 * B2), x0);
    const V end = plus_product(minus_product(x5, spread(A2 + B2), x3), spread(A2 * B2), x1);
    x0 = zero;
    x1 = plus(p, q);
    x2 = minus(p, q);
    x3 = plus(r, s);
    x4 = minus(r, s);
    x5 = end;
}

// Four outputs of a line from its six points (A^T m).
INLINE void from_points(V m0, V m1, V m2, V m3, V m4, V m5, V *y, int step) {
    const V s = plus(m1, m2), d = minus(m1, m2), t = plus(m3, m4), e = minus(m3, m4);
    y[0] = plus(m0, plus(s, t));
    y[step] = plus_product(times(spread(B), e), spread(A), d);
    y[2 * step] = plus_product(times(spread(B2), t), spread(A2), s);
    y[3 * step] = plus_product(plus_product(m5, spread(B3), e), spread(A3), d);
}

// One tile of the input, all channels, to its 36 spots; `spot` elements lie between two of them.
void scatter(const E *in, ptrdiff_t row, ptrdiff_t pixel, int channels, E *out, ptrdiff_t spot) {
    for (int c = 0; c < channels; c += LANES) {
        V x[SPOTS];
        for (int i = 0; i < TILE; i++) {
            for (int j = 0; j < TILE; j++) x[i * TILE + j] = load(in + i * row + j * pixel + c);
            to_points(x + i * TILE, 1);
        }
        for (int j = 0; j < TILE; j++) {
            to_points(x + j, TILE);
            for (int i = 0; i < TILE; i++) store(out + (i * TILE + j) * spot + c, x[i * TILE + j]);
        }
    }
}

// One tile of 4x4 outputs from its 36 spots: bias, ReLU, and the maxima of 2x2 where they are wanted.
// `down` and `across` say how many of its rows and columns lie within the picture.
void gather(const float *m, ptrdiff_t spot, int panel, const float *bias, const Plane &to, E *out, int down,
            int across, const Plane &half, E *pooled) {
    for (int k = 0; k < panel; k += LANES) {
        V t[STEP * TILE];
        for (int j = 0; j < TILE; j++) {
            const float *p = m + j * spot + k;
            const ptrdiff_t next = TILE * spot;
            from_points(get(p), get(p + next), get(p + 2 * next), get(p + 3 * next), get(p + 4 * next),
                        get(p + 5 * next), t + j, TILE);
        }
        const V b = get(bias + k), zero = spread(0.0f);
        V left = zero, right = zero;
        for (int i = 0; i < STEP; i++) {
            const V *l = t + i * TILE;
            V y[STEP];
            from_points(l[0], l[1], l[2], l[3], l[4], l[5], y, 1);
            for (int j = 0; j < STEP; j++) y[j] = larger(plus(y[j], b), zero);
            if (i < down) {
                E *o = out + i * to.row + k;
                for (int j = 0; j < across; j++) store(o + j * to.pixel, y[j]);
            }
            if (pooled == nullptr) continue;
            const V u = larger(y[0], y[1]), v = larger(y[2], y[3]);
            if (i & 1 && i < down) {
                E *o = pooled + (i >> 1) * half.row + k;
                store(o, larger(left, u));
                if (across > 2) store(o + half.pixel, larger(right, v));
            }
            left = u;
            right = v;
        }
    }
}

size_t scratch_of(const Layer *l) {
    const size_t spots = paged((size_t)SPOTS * l->chunk * l->inputs * sizeof(E));
    const size_t sums = (size_t)SPOTS * l->chunk * l->panel * sizeof(float);
    const size_t row = (size_t)l->chunk * l->from.width * l->panel * sizeof(float);
    return spots + (sums > row ? sums : row);
}

void convolve(const Layer *l, int item, char *scratch) {
    const int total = l->down * l->across, start = item / l->shares * l->chunk;
    const int count = total - start < l->chunk ? total - start : l->chunk, share = item % l->shares;
    E *spots = (E *)scratch;
    const ptrdiff_t spot = (ptrdiff_t)l->chunk * l->inputs, sum = (ptrdiff_t)l->chunk * l->panel;
    float *sums = (float *)(scratch + paged((size_t)SPOTS * spot * sizeof(E)));
    for (int t = 0; t < count; t++) {
        const int y = (start + t) / l->across * STEP, x = (start + t) % l->across * STEP;
        scatter((const E *)l->in + y * l->from.row + x * l->from.pixel, l->from.row, l->from.pixel, l->inputs,
                spots + (ptrdiff_t)t * l->inputs, spot);
    }
    const int panels = l->outputs / l->panel, end = panels * (share + 1) / l->shares;
    for (int p = panels * share / l->shares; p < end; p++) {
        const E *weights = (const E *)l->weights + (ptrdiff_t)p * SPOTS * l->inputs * l->panel;
        for (int s = 0; s < SPOTS; s++) {
            panel_product(l->panel, spots + s * spot, l->inputs, count,
                          weights + (ptrdiff_t)s * l->inputs * l->panel, l->inputs, sums + s * sum);
        }
        for (int t = 0; t < count; t++) {
            const int y = (start + t) / l->across * STEP, x = (start + t) % l->across * STEP;
            const int down = l->to.height - y, across = l->to.width - x;
            E *out = (E *)l->out + (y + 1) * l->to.row + (x + 1) * l->to.pixel + p * l->panel;
            E *pooled = nullptr;
            if (l->pooled != nullptr) {
                pooled =
                    (E *)l->pooled + (y / 2 + 1) * l->half.row + (x / 2 + 1) * l->half.pixel + p * l->panel;
            }
            gather(sums + (ptrdiff_t)t * l->panel, sum, l->panel, l->bias + p * l->panel, l->to, out,
                   down < STEP ? down : STEP, across < STEP ? across : STEP, l->half, pooled);
        }
    }
}

// Rows of a transposed convolution: every pixel becomes 2x2, each by a matrix of its own.
void raise(const Layer *l, int item, char *scratch) {
    const int start = item / l->shares * l->chunk, share = item % l->shares;
    const int end = start + l->chunk < l->from.height ? start + l->chunk : l->from.height;
    float *sums = (float *)scratch;
    const int panels = l->outputs / l->panel, all = 4 * panels, last = all * (share + 1) / l->shares;
    for (int p = all * share / l->shares; p < last; p++) {
        const int corner = p / panels, channel = p % panels * l->panel;
        const E *weights = (const E *)l->weights + (ptrdiff_t)p * l->inputs * l->panel;
        for (int y = start; y < end; y++) {
            const E *in = (const E *)l->in + (y + 1) * l->from.row + l->from.pixel;
            panel_product(l->panel, in, l->from.pixel, l->from.width, weights, l->inputs, sums);
            E *out = (E *)l->out + (2 * y + (corner >> 1) + 1) * l->to.row + ((corner & 1) + 1) * l->to.pixel;
            for (int x = 0; x < l->from.width; x++) {
                for (int k = 0; k < l->panel; k += LANES) {
                    store(out + 2 * x * l->to.pixel + channel + k,
                          plus(get(sums + (ptrdiff_t)x * l->panel + k), get(l->bias + channel + k)));
                }
            }
        }
    }
}

// Weights float32[outputs, inputs, 3, 3] as [panels][36][inputs / PAIR][panel][PAIR] (G g G^T), panels
// `first` to `last`.
void pack3(const float *weights, int outputs, int inputs, int panel, int first, int last, char *packed) {
    const double points[5] = {0.0, A, -A, B, -B};
    double g[TILE][3] = {{0.0}};
    for (int i = 0; i < 5; i++) {
        double f = 1.0;
        for (int j = 0; j < 5; j++) {
            if (i != j) f *= points[i] - points[j];
        }
        g[i][0] = 1.0 / f;
        g[i][1] = points[i] / f;
        g[i][2] = points[i] * points[i] / f;
    }
    g[5][2] = 1.0;
    for (int k = first * panel; k < last * panel && k < outputs; k++) {
        for (int c = 0; c < inputs; c++) {
            const float *w = weights + ((ptrdiff_t)k * inputs + c) * 9;
            double half[TILE][3];
            for (int i = 0; i < TILE; i++) {
                for (int j = 0; j < 3; j++)
                    half[i][j] = g[i][0] * w[j] + g[i][1] * w[3 + j] + g[i][2] * w[6 + j];
            }
            E *to = (E *)packed + (ptrdiff_t)(k / panel) * SPOTS * inputs * panel +
                    ((ptrdiff_t)(c / PAIR) * panel + k % panel) * PAIR + c % PAIR;
            for (int s = 0; s < SPOTS; s++) {
                const double *h = half[s / TILE], *q = g[s % TILE];
                to[(ptrdiff_t)s * inputs * panel] = rounded((float)(h[0] * q[0] + h[1] * q[1] + h[2] * q[2]));
            }
        }
    }
}

// Weights float32[inputs, outputs, 2, 2] as [4 corners][panels][inputs / PAIR][panel][PAIR].
void pack2(const float *weights, int outputs, int inputs, int panel, char *packed) {
    for (int corner = 0; corner < 4; corner++) {
        for (int k = 0; k < outputs; k++) {
            E *to = (E *)packed + ((ptrdiff_t)corner * outputs + k / panel * panel) * inputs;
            for (int c = 0; c < inputs; c++) {
                to[((ptrdiff_t)(c / PAIR) * panel + k % panel) * PAIR + c % PAIR] =
                    rounded(weights[((ptrdiff_t)c * outputs + k) * 4 + corner]);
            }
        }
    }
}

// A row of the first convolution: 3 channels of the picture, planes of (height + 2) x (width + 2), with ReLU.
// Weights [27][channels], channel of the picture first.
void first(const Edge *e, const float *padded, int row) {
    const ptrdiff_t width = e->plane.width + 2, plane = width * (e->plane.height + 2);
    E *out = (E *)e->data + (row + 1) * e->plane.row + e->plane.pixel;
    constexpr int together = 8;
    for (int x = 0; x < e->plane.width; x += together) {
        for (int k = 0; k < e->channels; k += LANES) {
            V sums[together];
            UNROLL for (int n = 0; n < together; n++) sums[n] = get(e->bias + k);
            for (int tap = 0; tap < 27; tap++) {
                const float *in = padded + tap / 9 * plane + (row + tap % 9 / 3) * width + x + tap % 3;
                const V w = get(e->weights + tap * e->channels + k);
                UNROLL for (int n = 0; n < together; n++) sums[n] = plus_product(sums[n], spread(in[n]), w);
            }
            for (int n = 0; n < together; n++) {
                store(out + (x + n) * e->plane.pixel + k, larger(sums[n], spread(0.0f)));
            }
        }
    }
}

// A row of the last convolution: one logit from all channels of each pixel.
void last(const Edge *e, float *logits, int row) {
    const E *in = (const E *)e->data + (row + 1) * e->plane.row + e->plane.pixel;
    for (int x = 0; x < e->plane.width; x++, in += e->plane.pixel) {
        V sum = spread(0.0f);
        for (int k = 0; k < e->channels; k += LANES)
            sum = plus_product(sum, load(in + k), get(e->weights + k));
        logits[(ptrdiff_t)row * e->plane.width + x] = total(sum) + e->bias[0];
    }
}

constexpr Set SET = {(int)sizeof(E), VECTORS *LANES, pack3, pack2, scratch_of, convolve, raise, first, last};

}  // namespace
