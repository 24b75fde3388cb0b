// What the files of the kernels share: the operations that one instruction set has to offer, and their
// operands.
//
// No header of the C++ library may be included here or in winograd.h: its inline functions would be compiled
// for an instruction set that the processor need not have, and the linker might take them for the whole
// library.
#ifndef ENDOSTREAM_SETS_H
#define ENDOSTREAM_SETS_H

#include <stddef.h>
#include <stdint.h>

// Activations with a border of zeros, channels last: row 0 and column 0 are border.
struct Plane {
    char *data;
    ptrdiff_t row;      // elements from one row to the next
    ptrdiff_t pixel;    // elements from one pixel to the next: all channels of the plane
    int height, width;  // without the border
};

// A 3x3 convolution with bias and ReLU by F(4x4, 3x3), or a 2x2 transposed one with stride 2 and bias.
struct Layer {
    const char *in;  // first channel that is read, at the border's corner
    Plane from;
    char *out;  // first channel that is written, at the border's corner
    Plane to;
    char *pooled;  // where the 2x2 maxima go, or null
    Plane half;
    int inputs, outputs;  // channels
    int panel;            // outputs computed at once: 64, 32 or 16
    const char *weights;  // packed (see pack in winograd.h)
    const float *bias;
    int down, across;  // tiles of 4x4 pixels
    int chunk;         // tiles (or rows, of a transposed convolution) worked on at once
    int shares;        // parts into which the outputs are cut
    int items;         // pieces of work: chunks times shares
};

// The first and the last convolution, in float32 throughout the arithmetic.
struct Edge {
    const float *weights, *bias;
    Plane plane;
    char *data;  // first channel, at the border's corner
    int channels;
};

struct Set {
    int element;  // bytes of an activation
    int widest;   // widest panel
    void (*pack3)(const float *weights, int outputs, int inputs, int panel, int first, int last,
                  char *packed);
    void (*pack2)(const float *weights, int outputs, int inputs, int panel, char *packed);
    size_t (*scratch)(const Layer *layer);
    void (*convolve)(const Layer *layer, int item, char *scratch);
    void (*raise)(const Layer *layer, int item, char *scratch);
    void (*first)(const Edge *edge, const float *padded, int row);
    void (*last)(const Edge *edge, float *logits, int row);
};

const Set *set_avx2(), *set_avx512(), *set_avx512_bf16();

#endif
