// The kernels for AVX-512 with its bfloat16 products: activations and weights in bfloat16, sums in float32.
#include "targets.h"
#if defined(ENDOSTREAM_X86)
TARGET_BEGIN("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma,avx2")
#include "bf16.h"
#include "sets.h"

#include "winograd.h"
TARGET_END

const Set *set_avx512_bf16() { return &SET; }
#else
#include "sets.h"
const Set *set_avx512_bf16() { return nullptr; }
#endif
