// The kernels for AVX2 with fused multiplication and addition, in float32.
#include "targets.h"
#if defined(ENDOSTREAM_X86)
TARGET_BEGIN("avx2,fma")
#include <immintrin.h>

#include "sets.h"

typedef __m256 V;
typedef __m256 Factors;
typedef float E;
static constexpr int LANES = 8, PAIR = 1, VECTORS = 2, ROWS = 6;

static INLINE V spread(float v) { return _mm256_set1_ps(v); }
static INLINE V get(const float *p) { return _mm256_loadu_ps(p); }
static INLINE void put(float *p, V v) { _mm256_storeu_ps(p, v); }
static INLINE V plus(V a, V b) { return _mm256_add_ps(a, b); }
static INLINE V minus(V a, V b) { return _mm256_sub_ps(a, b); }
static INLINE V times(V a, V b) { return _mm256_mul_ps(a, b); }
static INLINE V plus_product(V sum, V a, V b) { return _mm256_fmadd_ps(a, b, sum); }
static INLINE V minus_product(V sum, V a, V b) { return _mm256_fnmadd_ps(a, b, sum); }
static INLINE V larger(V a, V b) { return _mm256_max_ps(a, b); }
static INLINE float total(V v) {
    const __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 two = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
static INLINE V load(const E *p) { return _mm256_loadu_ps(p); }
static INLINE void store(E *p, V v) { _mm256_storeu_ps(p, v); }
static INLINE E rounded(float v) { return v; }
static INLINE Factors factors(const E *p) { return _mm256_loadu_ps(p); }
static INLINE Factors repeated(const E *p) { return _mm256_broadcast_ss(p); }
static INLINE V dot(V sum, Factors a, Factors b) { return _mm256_fmadd_ps(a, b, sum); }

#include "winograd.h"
TARGET_END

const Set *set_avx2() { return &SET; }
#else
#include "sets.h"
const Set *set_avx2() { return nullptr; }
#endif
