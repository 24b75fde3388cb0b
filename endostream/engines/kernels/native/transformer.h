// What transformer_bf16.cpp and native code around it share. As in sets.h, no header of the C++ library.
#ifndef ENDOSTREAM_TRANSFORMER_H
#define ENDOSTREAM_TRANSFORMER_H

#include <stddef.h>
#include <stdint.h>

// A linear layer: weights in panels of 64 outputs, bfloat16; bias float32.
struct Linear {
    const uint16_t *weights;
    const float *bias;
    int inputs, outputs;
};

// One block, its normalisations' factors and LayerScale worked into the linear layers beside them.
struct Block {
    Linear attend, project, widen, narrow;
};

// The network and the memory of one picture in it.
struct Tokens {
    int rows, columns, patch;                // the grid of patches; pixels of a patch's side
    int count, dim, heads, hidden, classes;  // tokens: patches and one for the class
    Linear embed;
    const float *start;  // float32[count, dim]: what a token is before anything of the picture is added
    const float *head, *head_bias, *map_bias;  // float32[classes, dim], float32[classes] twice
    float *x;                                  // float32[count, dim]: the tokens
    uint16_t *patches;                         // [rows * columns, 3 * patch * patch]
    uint16_t *normed;                          // [count, dim]
    uint16_t *queries, *keys, *values;  // by head: [count, 64]; panels of tokens; panels of 64 channels
    uint16_t *mixed;                    // [count, dim]
    uint16_t *wide;                     // [count, hidden]
    const float *picture;               // float32[3, rows * patch, columns * patch]
    float *logits, *maps;               // float32[classes], float32[classes, rows, columns]
};

constexpr int HEAD = 64;  // channels of a head, and outputs of a panel
constexpr int ROWS_AT_ONCE = 6;

struct TransformerSet {
    void (*pack)(const float *weights, int outputs, int inputs, uint16_t *packed);
    size_t (*scratch)(const Tokens *t);
    void (*cut)(const Tokens *t, int row);  // a row of patches to bfloat16
    void (*embed)(const Tokens *t, int panel, int first, int last, char *scratch);
    void (*norm)(const Tokens *t, int first, int last);
    void (*attend_in)(const Tokens *t, const Linear *l, int panel, int first, int last, char *scratch);
    void (*attend)(const Tokens *t, int head, int first, int last, char *scratch);
    void (*add)(const Tokens *t, const Linear *l, const uint16_t *from, int panel, int first, int last,
                char *scratch);
    void (*widen)(const Tokens *t, const Linear *l, int panel, int first, int last, char *scratch);
    void (*finish)(const Tokens *t, int first, int last, char *scratch);
};

// Elements of one head's keys: panels of 64 tokens, the last one 16, 32 or 64 wide.
inline size_t key_elements(int tokens) { return (size_t)((tokens + 15) / 16 * 16) * HEAD + 64 * HEAD; }
inline size_t value_elements(int tokens) { return (size_t)((tokens + 1) / 2 * 2) * HEAD; }

const TransformerSet *transformer_bf16();

#endif
