// Arithmetic on 16 float32 at once.
static INLINE V spread(float v) { return _mm512_set1_ps(v); }
static INLINE V get(const float *p) { return _mm512_loadu_ps(p); }
static INLINE void put(float *p, V v) { _mm512_storeu_ps(p, v); }
static INLINE V plus(V a, V b) { return _mm512_add_ps(a, b); }
static INLINE V minus(V a, V b) { return _mm512_sub_ps(a, b); }
static INLINE V times(V a, V b) { return _mm512_mul_ps(a, b); }
static INLINE V plus_product(V sum, V a, V b) { return _mm512_fmadd_ps(a, b, sum); }
static INLINE V minus_product(V sum, V a, V b) { return _mm512_fnmadd_ps(a, b, sum); }
static INLINE V larger(V a, V b) { return _mm512_max_ps(a, b); }
static INLINE float total(V v) { return _mm512_reduce_add_ps(v); }
