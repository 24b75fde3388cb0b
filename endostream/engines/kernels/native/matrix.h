// The matrix product that everything rests on: a few rows by one panel of weights, sums in registers.
// Needs what winograd.h says. Panels hold their weights as [inputs / PAIR][width][PAIR].

namespace {

// `R` rows of a matrix product: m[r][k] = sum over c of a[r][c] b[c][k], for one panel of W vectors.
template <int R, int W>
void rows(const E *a, ptrdiff_t stride, const E *b, int inputs, float *m) {
    V sums[R][W];
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int w = 0; w < W; w++) sums[r][w] = spread(0.0f);
    for (int c = 0; c < inputs; c += PAIR, b += W * LANES * PAIR) {
        Factors right[W];
        UNROLL for (int w = 0; w < W; w++) right[w] = factors(b + w * LANES * PAIR);
        UNROLL for (int r = 0; r < R; r++) {
            const Factors left = repeated(a + r * stride + c);
            UNROLL for (int w = 0; w < W; w++) sums[r][w] = dot(sums[r][w], left, right[w]);
        }
    }
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int w = 0; w < W; w++) {
        put(m + (r * W + w) * LANES, sums[r][w]);
    }
}

// All `count` rows, in blocks of nearly the same size: a block of one row would wait for its own sums.
template <int W>
void product(const E *a, ptrdiff_t stride, int count, const E *b, int inputs, float *m) {
    constexpr int most = ROWS * VECTORS / W < 8 ? ROWS * VECTORS / W : 8;
    const int blocks = (count + most - 1) / most;
    for (int n = 0, done = 0; n < blocks; n++) {
        const int size = count * (n + 1) / blocks - done;
        const E *from = a + done * stride;
        float *to = m + done * W * LANES;
        switch (size) {
            case 1:
                rows<1, W>(from, stride, b, inputs, to);
                break;
            case 2:
                rows<2, W>(from, stride, b, inputs, to);
                break;
            case 3:
                rows<3, W>(from, stride, b, inputs, to);
                break;
            case 4:
                rows<4, W>(from, stride, b, inputs, to);
                break;
            case 5:
                rows<5, W>(from, stride, b, inputs, to);
                break;
            case 6:
                rows<6, W>(from, stride, b, inputs, to);
                break;
            case 7:
                rows<(most > 6 ? 7 : 1), W>(from, stride, b, inputs, to);
                break;
            default:
                rows<(most > 7 ? 8 : 1), W>(from, stride, b, inputs, to);
                break;
        }
        done += size;
    }
}

// The product for a panel of any width that is offered.
void panel_product(int panel, const E *a, ptrdiff_t stride, int count, const E *b, int inputs, float *m) {
    switch (panel / LANES) {
        case 1:
            product<1>(a, stride, count, b, inputs, m);
            break;
        case 2:
            product<2>(a, stride, count, b, inputs, m);
            break;
        default:
            product<VECTORS>(a, stride, count, b, inputs, m);
            break;
    }
}

}  // namespace
