// A vision transformer: weights packed once, and for every picture in work a context with its own memory and
// threads.
//
// Owns the order of the steps and the C interface. Must not know any instruction set.

#include "processor.h"
#include "pool.h"
#include "transformer.h"

namespace {

constexpr int ROW_CHUNK = 66;  // tokens in one item where a panel is cut: a multiple of the rows at once

// The weights, shared by all contexts.
class Transformer {
  public:
    Transformer(int rows, int columns, int patch, int dim, int hidden, int classes) {
        shape_.rows = rows;
        shape_.columns = columns;
        shape_.patch = patch;
        shape_.count = rows * columns + 1;
        shape_.dim = dim;
        shape_.heads = dim / HEAD;
        shape_.hidden = hidden;
        shape_.classes = classes;
    }

    void embed(const float *weights, const float *start) {
        shape_.embed = linear(weights, nullptr, shape_.dim, 3 * shape_.patch * shape_.patch);
        shape_.start = keep(start, (size_t)shape_.count * shape_.dim);
    }

    // Weights float32[outputs, inputs] and biases of the four linear layers of one block.
    void block(const float *const *parts) {
        const int dim = shape_.dim, hidden = shape_.hidden;
        blocks_.push_back({linear(parts[0], parts[1], 3 * dim, dim), linear(parts[2], parts[3], dim, dim),
                           linear(parts[4], parts[5], hidden, dim), linear(parts[6], parts[7], dim, hidden)});
    }

    void head(const float *weights, const float *bias, const float *map_bias) {
        shape_.head = keep(weights, (size_t)shape_.classes * shape_.dim);
        shape_.head_bias = keep(bias, shape_.classes);
        shape_.map_bias = keep(map_bias, shape_.classes);
    }

    const Tokens &shape() const { return shape_; }
    const std::vector<Block> &blocks() const { return blocks_; }
    const TransformerSet *set() const { return set_; }

  private:
    Linear linear(const float *weights, const float *bias, int outputs, int inputs) {
        memory_.emplace_back(sizeof(uint16_t) * outputs * inputs);
        uint16_t *packed = (uint16_t *)memory_.back().get();
        set_->pack(weights, outputs, inputs, packed);
        return {packed, bias == nullptr ? nullptr : keep(bias, outputs), inputs, outputs};
    }

    const float *keep(const float *values, size_t count) {
        memory_.emplace_back(sizeof(float) * count);
        std::memcpy(memory_.back().get(), values, sizeof(float) * count);
        return (const float *)memory_.back().get();
    }

    const TransformerSet *set_ = transformer_bf16();
    Tokens shape_{};
    std::vector<Block> blocks_;
    std::vector<Memory> memory_;
};

// One picture in work.
class Context {
  public:
    Context(const Transformer &network, int threads)
        : set_(network.set()), t_(network.shape()), pool_(threads) {
        const size_t count = t_.count, dim = t_.dim;
        t_.x = (float *)room(sizeof(float) * count * dim);
        t_.patches = (uint16_t *)room(sizeof(uint16_t) * (count - 1) * 3 * t_.patch * t_.patch);
        t_.normed = (uint16_t *)room(sizeof(uint16_t) * count * dim);
        t_.queries = (uint16_t *)room(sizeof(uint16_t) * count * dim);
        t_.keys = (uint16_t *)room(sizeof(uint16_t) * key_elements(t_.count) * t_.heads);
        t_.values = (uint16_t *)room(sizeof(uint16_t) * value_elements(t_.count) * t_.heads);
        t_.mixed = (uint16_t *)room(sizeof(uint16_t) * count * dim);
        t_.wide = (uint16_t *)room(sizeof(uint16_t) * count * t_.hidden);
        plan(network);
        pool_.settle();
    }

    void run(const float *picture, float *logits, float *maps) {
        std::lock_guard<std::mutex> one(running_);
        t_.picture = picture;
        t_.logits = logits;
        t_.maps = maps;
        pool_.run();
    }

  private:
    char *room(size_t bytes) {
        memory_.emplace_back(bytes);
        return memory_.back().get();
    }

    // A step over all tokens, `parts` panels or heads wide; cut along the tokens too where that occupies
    // threads.
    template <typename Act>
    void over(int tokens, int parts, Act act) {
        const bool whole = pool_.threads() == 1 || parts % pool_.threads() == 0;
        const int size = whole && parts > 1 ? tokens : ROW_CHUNK, chunks = (tokens + size - 1) / size;
        pool_.add(parts * chunks, set_->scratch(&t_), [=](int item, char *scratch) {
            const int first = item % chunks * size, last = first + size < tokens ? first + size : tokens;
            act(item / chunks, first, last, scratch);
        });
    }

    void plan(const Transformer &network) {
        const TransformerSet *set = set_;
        const Tokens *t = &t_;
        pool_.add(t->rows, 0, [=](int row, char *) { set->cut(t, row); });
        over(t->count - 1, t->dim / HEAD,
             [=](int panel, int first, int last, char *own) { set->embed(t, panel, first, last, own); });
        for (const Block &b : network.blocks()) {
            const Block *block = &b;
            norm();
            over(t->count, 3 * t->heads, [=](int panel, int first, int last, char *own) {
                set->attend_in(t, &block->attend, panel, first, last, own);
            });
            over(t->count, t->heads,
                 [=](int head, int first, int last, char *own) { set->attend(t, head, first, last, own); });
            added(&block->project, t->mixed);
            norm();
            over(t->count, t->hidden / HEAD, [=](int panel, int first, int last, char *own) {
                set->widen(t, &block->widen, panel, first, last, own);
            });
            added(&block->narrow, t->wide);
        }
        over(t->count, 1, [=](int, int first, int last, char *own) { set->finish(t, first, last, own); });
    }

    void norm() {
        const TransformerSet *set = set_;
        const Tokens *t = &t_;
        over(t->count, 1, [=](int, int first, int last, char *) { set->norm(t, first, last); });
    }

    void added(const Linear *layer, const uint16_t *from) {
        const TransformerSet *set = set_;
        const Tokens *t = &t_;
        over(t->count, t->dim / HEAD, [=](int panel, int first, int last, char *own) {
            set->add(t, layer, from, panel, first, last, own);
        });
    }

    const TransformerSet *set_;
    Tokens t_;
    std::vector<Memory> memory_;
    std::mutex running_;
    Pool pool_;  // last: its threads end before what they work on
};

}  // namespace

PUBLIC void *endostream_transformer(int rows, int columns, int patch, int dim, int hidden, int classes) {
    if (transformer_bf16() == nullptr || !(endostream_features() & AVX512_BF16)) return nullptr;
    try {
        return new Transformer(rows, columns, patch, dim, hidden, classes);
    } catch (...) {
        return nullptr;
    }
}

PUBLIC void endostream_transformer_close(void *network) { delete (Transformer *)network; }

PUBLIC int endostream_transformer_embed(void *network, const float *weights, const float *start) {
    return guarded([&] {
        ((Transformer *)network)->embed(weights, start);
        return 0;
    });
}

PUBLIC int endostream_transformer_block(void *network, const float *const *parts) {
    return guarded([&] {
        ((Transformer *)network)->block(parts);
        return 0;
    });
}

PUBLIC int endostream_transformer_head(void *network, const float *weights, const float *bias,
                                       const float *map_bias) {
    return guarded([&] {
        ((Transformer *)network)->head(weights, bias, map_bias);
        return 0;
    });
}

PUBLIC void *endostream_context(void *network, int threads) {
    try {
        return new Context(*(Transformer *)network, threads);
    } catch (...) {
        return nullptr;
    }
}

PUBLIC void endostream_context_close(void *context) { delete (Context *)context; }

PUBLIC void endostream_context_run(void *context, const float *picture, float *logits, float *maps) {
    ((Context *)context)->run(picture, logits, maps);
}
