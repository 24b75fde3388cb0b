// The processor's own word on what it can do, and the operating system's on which registers it keeps.
#include "processor.h"

#if defined(_MSC_VER)
#include <intrin.h>
#elif defined(__x86_64__)
#include <cpuid.h>
#endif

namespace {

// GCC on Windows does not align the stack for these registers.
#if (defined(__x86_64__) || defined(_M_X64)) && !defined(__MINGW32__)
void identify(unsigned leaf, unsigned part, unsigned *r) {
#if defined(_MSC_VER)
    __cpuidex((int *)r, (int)leaf, (int)part);
#else
    if (!__get_cpuid_count(leaf, part, r, r + 1, r + 2, r + 3)) r[0] = r[1] = r[2] = r[3] = 0;
#endif
}

// Which registers the operating system saves, bit by bit.
unsigned long long saved() {
#if defined(_MSC_VER)
    return _xgetbv(0);
#else
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (unsigned long long)high << 32 | low;
#endif
}

int found_features() {
    unsigned one[4], seven[4], more[4];
    identify(1, 0, one);
    if (!(one[2] >> 27 & 1)) return 0;
    const unsigned long long kept = saved();
    identify(7, 0, seven);
    identify(7, 1, more);
    int found = 0;
    if ((kept & 0x6) != 0x6 || !(seven[1] >> 5 & 1) || !(one[2] >> 12 & 1)) return 0;
    found |= AVX2;
    if (more[0] >> 4 & 1) found |= AVX_VNNI;
    const bool wide = (kept & 0xe6) == 0xe6 && seven[1] >> 16 & 1 && seven[1] >> 17 & 1 &&
                      seven[1] >> 30 & 1 && seven[1] >> 31 & 1;
    if (!wide) return found;
    found |= AVX512;
    if (seven[2] >> 11 & 1) found |= AVX512_VNNI;
    if (more[0] >> 5 & 1) found |= AVX512_BF16;
    if ((kept & 0x60000) == 0x60000 && seven[3] >> 22 & 1) found |= AMX_BF16;
    return found;
}
#else
int found_features() { return 0; }
#endif

}  // namespace

PUBLIC int endostream_features() { return found_features(); }
