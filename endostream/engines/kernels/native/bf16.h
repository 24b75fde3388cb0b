// AVX-512 with its bfloat16 products: activations and weights in bfloat16, sums in float32.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

typedef __m512 V;
typedef __m512i Factors;
typedef uint16_t E;
static constexpr int LANES = 16, PAIR = 2, VECTORS = 4, ROWS = 6;

#include "lanes512.h"

static INLINE V load(const E *p) {
    return _mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}
static INLINE void store(E *p, V v) {
    const __m256bh narrow = _mm512_cvtneps_pbh(v);
    memcpy(p, &narrow, sizeof narrow);
}
static INLINE E rounded(float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return (E)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
static INLINE Factors factors(const E *p) { return _mm512_loadu_si512(p); }
static INLINE Factors repeated(const E *p) {
    int pair;
    memcpy(&pair, p, sizeof pair);
    return _mm512_set1_epi32(pair);
}
static INLINE V dot(V sum, Factors a, Factors b) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }
