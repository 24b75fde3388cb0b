// How a compiler is told to use an instruction set within one file, to inline and to unroll.
#ifndef ENDOSTREAM_TARGETS_H
#define ENDOSTREAM_TARGETS_H

#if defined(__x86_64__) || defined(_M_X64)
#define ENDOSTREAM_X86 1
#endif

#define ENDOSTREAM_TEXT(x) #x
#if defined(__clang__)
#define TARGET_BEGIN(set) \
    _Pragma(ENDOSTREAM_TEXT(clang attribute push(__attribute__((target(set))), apply_to = function)))
#define TARGET_END _Pragma("clang attribute pop")
#define INLINE __attribute__((always_inline)) inline
#define UNROLL _Pragma("unroll")
#elif defined(__GNUC__)
#define TARGET_BEGIN(set) _Pragma("GCC push_options") _Pragma(ENDOSTREAM_TEXT(GCC target(set)))
#define TARGET_END _Pragma("GCC pop_options")
#define INLINE __attribute__((always_inline)) inline
#define UNROLL _Pragma("GCC unroll 16")
#else
#define TARGET_BEGIN(set)
#define TARGET_END
#define INLINE __forceinline
#define UNROLL
#endif

#endif
