// What a processor offers, and how the library shows a function to the outside.
#ifndef ENDOSTREAM_PROCESSOR_H
#define ENDOSTREAM_PROCESSOR_H

#if defined(_WIN32)
#define PUBLIC extern "C" __declspec(dllexport)
#else
#define PUBLIC extern "C" __attribute__((visibility("default")))
#endif

enum Features { AVX2 = 1, AVX512 = 2, AVX512_BF16 = 4, AVX512_VNNI = 8, AVX_VNNI = 16, AMX_BF16 = 32 };

// All that holds of this processor under this operating system, added up.
PUBLIC int endostream_features();

#endif
