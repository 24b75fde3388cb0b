// Networks of 3x3 convolutions as a list of steps over planes of activations.
//
// Owns planes, weights and the C interface that Python calls through ctypes. Must not know any instruction
// set.

#include "processor.h"
#include "pool.h"
#include "sets.h"

namespace {

class Network {
  public:
    Network(const Set *set, int threads, int height, int width)
        : set_(set),
          height_(height),
          width_(width),
          padded_(sizeof(float) * 3 * (height + 2) * (width + 2)),
          pool_(threads) {}

    int plane(int height, int width, int channels) {
        // Tiles may reach over the lower and the right border: there it stays zero.
        const ptrdiff_t row = (ptrdiff_t)((width + 3) / 4 * 4 + 2) * channels;
        const size_t bytes = (size_t)row * ((height + 3) / 4 * 4 + 2) * set_->element;
        memory_.emplace_back(bytes);
        planes_.push_back({memory_.back().get(), row, channels, height, width});
        return (int)planes_.size() - 1;
    }

    void first(int out, int offset, int outputs, const float *weights, const float *bias) {
        std::vector<float> turned((size_t)27 * outputs);
        for (int k = 0; k < outputs; k++) {
            for (int tap = 0; tap < 27; tap++) turned[(size_t)tap * outputs + k] = weights[k * 27 + tap];
        }
        const Edge e = edge(out, offset, outputs, keep(turned.data(), turned.size()), keep(bias, outputs));
        pool_.add(e.plane.height, 0,
                  [this, e](int row, char *) { set_->first(&e, (const float *)padded_.get(), row); });
    }

    void last(int in, int offset, int inputs, const float *weights, const float *bias) {
        const Edge e = edge(in, offset, inputs, keep(weights, inputs), keep(bias, 1));
        pool_.add(e.plane.height, 0, [this, e](int row, char *) { set_->last(&e, logits_, row); });
    }

    void convolve(int in, int in_offset, int inputs, int out, int out_offset, int outputs, int pooled,
                  const float *weights, const float *bias) {
        Layer l = layer(in, in_offset, inputs, out, out_offset, outputs, bias);
        if (pooled >= 0) {
            l.half = planes_[pooled];
            l.pooled = l.half.data;
        }
        const size_t bytes = (size_t)36 * inputs * outputs * set_->element;
        memory_.emplace_back(bytes);
        char *packed = memory_.back().get();
        l.weights = packed;
        const int panels = outputs / l.panel;
        std::vector<std::thread> packers;
        for (int n = 0; n < pool_.threads(); n++) {
            packers.emplace_back([=] {
                set_->pack3(weights, outputs, inputs, l.panel, panels * n / pool_.threads(),
                            panels * (n + 1) / pool_.threads(), packed);
            });
        }
        for (auto &packer : packers) packer.join();
        l.down = (l.to.height + 3) / 4;
        l.across = (l.to.width + 3) / 4;
        const int tiles = l.down * l.across;
        // The weights are read once per chunk: large ones want large chunks, small ones leave room in the
        // cache for what lies between the transforms. Work on few tiles is cut by outputs instead; the
        // transform of the input is then done once per share.
        l.chunk = bytes < (12u << 20) ? 12 : 50;
        l.shares = bytes < (12u << 20) ? 1 : 2;
        if (tiles <= 50) {
            l.chunk = tiles;
            l.shares = 4;
        }
        if (l.shares > panels) l.shares = panels;
        l.items = (tiles + l.chunk - 1) / l.chunk * l.shares;
        pool_.add(l.items, set_->scratch(&l),
                  [this, l](int item, char *own) { set_->convolve(&l, item, own); });
    }

    void raise(int in, int in_offset, int inputs, int out, int out_offset, int outputs, const float *weights,
               const float *bias) {
        Layer l = layer(in, in_offset, inputs, out, out_offset, outputs, bias);
        const size_t bytes = (size_t)4 * inputs * outputs * set_->element;
        memory_.emplace_back(bytes);
        set_->pack2(weights, outputs, inputs, l.panel, memory_.back().get());
        l.weights = memory_.back().get();
        const int rows = l.from.height, all = 4 * outputs / l.panel;
        l.chunk = (127 + l.from.width) / l.from.width;
        l.shares = rows / l.chunk >= 4 * pool_.threads() ? 1 : 4;
        if (l.shares > all) l.shares = all;
        l.items = (rows + l.chunk - 1) / l.chunk * l.shares;
        pool_.add(l.items, set_->scratch(&l), [this, l](int item, char *own) { set_->raise(&l, item, own); });
    }

    void settle() { pool_.settle(); }

    void run(const float *input, float *logits) {
        std::lock_guard<std::mutex> one(running_);
        for (int c = 0; c < 3; c++) {
            float *to = (float *)padded_.get() + (size_t)c * (height_ + 2) * (width_ + 2);
            for (int y = 0; y < height_; y++) {
                std::memcpy(to + (size_t)(y + 1) * (width_ + 2) + 1,
                            input + ((size_t)c * height_ + y) * width_, sizeof(float) * width_);
            }
        }
        logits_ = logits;
        pool_.run();
    }

  private:
    Layer layer(int in, int in_offset, int inputs, int out, int out_offset, int outputs, const float *bias) {
        Layer l{};
        l.from = planes_[in];
        l.in = l.from.data + (size_t)in_offset * set_->element;
        l.to = planes_[out];
        l.out = l.to.data + (size_t)out_offset * set_->element;
        l.inputs = inputs;
        l.outputs = outputs;
        l.panel = set_->widest;
        while (outputs % l.panel) l.panel /= 2;
        l.bias = keep(bias, outputs);
        return l;
    }

    const float *keep(const float *values, size_t count) {
        memory_.emplace_back(sizeof(float) * count);
        std::memcpy(memory_.back().get(), values, sizeof(float) * count);
        return (const float *)memory_.back().get();
    }

    Edge edge(int plane, int offset, int channels, const float *weights, const float *bias) {
        const Plane &p = planes_[plane];
        return {weights, bias, p, p.data + (size_t)offset * set_->element, channels};
    }

    const Set *set_;
    const int height_, width_;
    Memory padded_;
    std::vector<Memory> memory_;
    std::vector<Plane> planes_;
    float *logits_ = nullptr;
    std::mutex running_;
    Pool pool_;  // last: its threads end before what they work on
};

const Set *set_of(int feature) {
    switch (feature) {
        case AVX2:
            return set_avx2();
        case AVX512:
            return set_avx512();
        case AVX512_BF16:
            return set_avx512_bf16();
        default:
            return nullptr;
    }
}

}  // namespace

PUBLIC void *endostream_open(int feature, int threads, int height, int width) {
    const Set *set = set_of(feature);
    if (set == nullptr || !(endostream_features() & feature)) return nullptr;
    try {
        return new Network(set, threads, height, width);
    } catch (...) {
        return nullptr;
    }
}

PUBLIC void endostream_close(void *network) { delete (Network *)network; }

PUBLIC int endostream_plane(void *network, int height, int width, int channels) {
    return guarded([&] { return ((Network *)network)->plane(height, width, channels); });
}

PUBLIC int endostream_first(void *network, int out, int offset, int outputs, const float *weights,
                            const float *bias) {
    return guarded([&] {
        ((Network *)network)->first(out, offset, outputs, weights, bias);
        return 0;
    });
}

PUBLIC int endostream_convolve(void *network, int in, int in_offset, int inputs, int out, int out_offset,
                               int outputs, int pooled, const float *weights, const float *bias) {
    return guarded([&] {
        ((Network *)network)
            ->convolve(in, in_offset, inputs, out, out_offset, outputs, pooled, weights, bias);
        return 0;
    });
}

PUBLIC int endostream_raise(void *network, int in, int in_offset, int inputs, int out, int out_offset,
                            int outputs, const float *weights, const float *bias) {
    return guarded([&] {
        ((Network *)network)->raise(in, in_offset, inputs, out, out_offset, outputs, weights, bias);
        return 0;
    });
}

PUBLIC int endostream_last(void *network, int in, int offset, int inputs, const float *weights,
                           const float *bias) {
    return guarded([&] {
        ((Network *)network)->last(in, offset, inputs, weights, bias);
        return 0;
    });
}

PUBLIC int endostream_settle(void *network) {
    return guarded([&] {
        ((Network *)network)->settle();
        return 0;
    });
}

PUBLIC void endostream_run(void *network, const float *input, float *logits) {
    ((Network *)network)->run(input, logits);
}
