// The kernels for AVX-512 in float32.
#include "targets.h"
#if defined(ENDOSTREAM_X86)
TARGET_BEGIN("avx512f,avx512bw,avx512vl,avx512dq,fma,avx2")
#include <immintrin.h>

#include "sets.h"

typedef __m512 V;
typedef __m512 Factors;
typedef float E;
static constexpr int LANES = 16, PAIR = 1, VECTORS = 4, ROWS = 6;

#include "lanes512.h"

static INLINE V load(const E *p) { return _mm512_loadu_ps(p); }
static INLINE void store(E *p, V v) { _mm512_storeu_ps(p, v); }
static INLINE E rounded(float v) { return v; }
static INLINE Factors factors(const E *p) { return _mm512_loadu_ps(p); }
static INLINE Factors repeated(const E *p) { return _mm512_set1_ps(*p); }
static INLINE V dot(V sum, Factors a, Factors b) { return _mm512_fmadd_ps(a, b, sum); }

#include "winograd.h"
TARGET_END

const Set *set_avx512() { return &SET; }
#else
#include "sets.h"
const Set *set_avx512() { return nullptr; }
#endif
