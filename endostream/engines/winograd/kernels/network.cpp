// A network as a list of steps, each cut into items that a few threads take one after the other.
//
// Owns memory, threads and the C interface that Python calls through ctypes. Must not know any instruction set.

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#if defined(_WIN32)
#include <malloc.h>
#endif
#if defined(_MSC_VER)
#include <intrin.h>
#elif defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "sets.h"

#if defined(_WIN32)
#define PUBLIC extern "C" __declspec(dllexport)
#else
#define PUBLIC extern "C" __attribute__((visibility("default")))
#endif

namespace {

enum Features { AVX2 = 1, AVX512 = 2, AVX512_BF16 = 4, AVX512_VNNI = 8, AVX_VNNI = 16, AMX_BF16 = 32 };

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

int features() {
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
    const bool wide = (kept & 0xe6) == 0xe6 && seven[1] >> 16 & 1 && seven[1] >> 17 & 1 && seven[1] >> 30 & 1 &&
                      seven[1] >> 31 & 1;
    if (!wide) return found;
    found |= AVX512;
    if (seven[2] >> 11 & 1) found |= AVX512_VNNI;
    if (more[0] >> 5 & 1) found |= AVX512_BF16;
    if ((kept & 0x60000) == 0x60000 && seven[3] >> 22 & 1) found |= AMX_BF16;
    return found;
}
#else
int features() { return 0; }
#endif

// Zeroed memory at a page's start; large pieces ask for large pages.
class Memory {
  public:
    explicit Memory(size_t bytes) {
        constexpr size_t large = 2u << 20;
        const size_t unit = bytes >= 4 * large ? large : 4096;
        bytes = (bytes + 1024 + unit - 1) / unit * unit;  // kernels fetch a little ahead
#if defined(_WIN32)
        data_ = (char *)_aligned_malloc(bytes, unit);
        if (data_ == nullptr) throw std::bad_alloc();
#else
        if (posix_memalign((void **)&data_, unit, bytes)) throw std::bad_alloc();
#endif
#if defined(__linux__)
        if (unit == large) madvise(data_, bytes, MADV_HUGEPAGE);
#endif
        std::memset(data_, 0, bytes);
    }
    Memory(Memory &&other) noexcept : data_(other.data_) { other.data_ = nullptr; }
    Memory(const Memory &) = delete;
    Memory &operator=(const Memory &) = delete;
    ~Memory() {
#if defined(_WIN32)
        _aligned_free(data_);
#else
        std::free(data_);
#endif
    }
    char *get() const { return data_; }

  private:
    char *data_ = nullptr;
};

struct Step {
    enum Kind { FIRST, CONVOLVE, RAISE, LAST } kind;
    Layer layer;
    Edge edge;
    int items;
    std::unique_ptr<std::atomic<int>> next, done;
};

class Network {
  public:
    Network(const Set *set, int threads, int height, int width)
        : set_(set), threads_(threads < 1 ? 1 : threads), height_(height), width_(width),
          padded_(sizeof(float) * 3 * (height + 2) * (width + 2)) {
        for (int n = 1; n < threads_; n++) helpers_.emplace_back([this, n] { help(n); });
    }

    ~Network() {
        {
            std::lock_guard<std::mutex> hold(lock_);
            closed_ = true;
        }
        changed_.notify_all();
        for (auto &helper : helpers_) helper.join();
    }

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
        add_edge(Step::FIRST, out, offset, outputs, keep(turned.data(), turned.size()), keep(bias, outputs));
    }

    void last(int in, int offset, int inputs, const float *weights, const float *bias) {
        add_edge(Step::LAST, in, offset, inputs, keep(weights, inputs), keep(bias, 1));
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
        for (int n = 0; n < threads_; n++) {
            packers.emplace_back([=] {
                set_->pack3(weights, outputs, inputs, l.panel, panels * n / threads_,
                            panels * (n + 1) / threads_, packed);
            });
        }
        for (auto &packer : packers) packer.join();
        l.down = (l.to.height + 3) / 4;
        l.across = (l.to.width + 3) / 4;
        const int tiles = l.down * l.across;
        // The weights are read once per chunk: large ones want large chunks, small ones leave room in the cache
        // for what lies between the transforms. Work on few tiles is cut by outputs instead; the transform of
        // the input is then done once per share.
        l.chunk = bytes < (12u << 20) ? 12 : 50;
        l.shares = bytes < (12u << 20) ? 1 : 2;
        if (tiles <= 50) {
            l.chunk = tiles;
            l.shares = 4;
        }
        if (l.shares > panels) l.shares = panels;
        l.items = (tiles + l.chunk - 1) / l.chunk * l.shares;
        add(Step::CONVOLVE, l, Edge{}, l.items, set_->scratch(&l));
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
        l.shares = rows / l.chunk >= 4 * threads_ ? 1 : 4;
        if (l.shares > all) l.shares = all;
        l.items = (rows + l.chunk - 1) / l.chunk * l.shares;
        add(Step::RAISE, l, Edge{}, l.items, set_->scratch(&l));
    }

    // Scratch memory for every thread; called once, before the first run.
    void settle() {
        for (int n = 0; n < threads_; n++) scratch_.emplace_back(most_);
    }

    void run(const float *input, float *logits) {
        std::lock_guard<std::mutex> one(running_);
        for (int c = 0; c < 3; c++) {
            float *to = (float *)padded_.get() + (size_t)c * (height_ + 2) * (width_ + 2);
            for (int y = 0; y < height_; y++) {
                std::memcpy(to + (size_t)(y + 1) * (width_ + 2) + 1, input + ((size_t)c * height_ + y) * width_,
                            sizeof(float) * width_);
            }
        }
        for (auto &step : steps_) {
            *step.next = 0;
            *step.done = 0;
        }
        {
            std::lock_guard<std::mutex> hold(lock_);
            logits_ = logits;
            round_++;
            open_ = true;
        }
        changed_.notify_all();
        work(0);
        std::unique_lock<std::mutex> hold(lock_);
        open_ = false;
        changed_.wait(hold, [this] { return inside_ == 0; });
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

    void add_edge(Step::Kind kind, int plane, int offset, int channels, const float *weights, const float *bias) {
        const Plane &p = planes_[plane];
        add(kind, Layer{}, Edge{weights, bias, p, p.data + (size_t)offset * set_->element, channels}, p.height, 0);
    }

    void add(Step::Kind kind, const Layer &layer, const Edge &edge, int items, size_t scratch) {
        steps_.push_back({kind, layer, edge, items, std::make_unique<std::atomic<int>>(0),
                          std::make_unique<std::atomic<int>>(0)});
        if (scratch > most_) most_ = scratch;
    }

    void help(int number) {
        unsigned long long seen = 0;
        std::unique_lock<std::mutex> hold(lock_);
        while (true) {
            changed_.wait(hold, [&] { return closed_ || (open_ && round_ != seen); });
            if (closed_) return;
            seen = round_;
            inside_++;
            hold.unlock();
            work(number);
            hold.lock();
            if (--inside_ == 0) changed_.notify_all();
        }
    }

    // All steps in turn. A thread that finds no item left waits for those that others still hold; one that the
    // system does not let run holds nobody up.
    void work(int number) {
        char *scratch = scratch_[number].get();
        for (auto &step : steps_) {
            int item;
            while ((item = step.next->fetch_add(1)) < step.items) {
                compute(step, item, scratch);
                if (step.done->fetch_add(1) + 1 == step.items && threads_ > 1) {
                    std::lock_guard<std::mutex> hold(lock_);
                    changed_.notify_all();
                }
            }
            for (int spin = 0; *step.done < step.items && spin < SPINS; spin++) pause();
            if (*step.done < step.items) {
                std::unique_lock<std::mutex> hold(lock_);
                changed_.wait(hold, [&] { return *step.done >= step.items; });
            }
        }
    }

    void compute(const Step &step, int item, char *scratch) {
        switch (step.kind) {
            case Step::FIRST: set_->first(&step.edge, (const float *)padded_.get(), item); break;
            case Step::CONVOLVE: set_->convolve(&step.layer, item, scratch); break;
            case Step::RAISE: set_->raise(&step.layer, item, scratch); break;
            case Step::LAST: set_->last(&step.edge, logits_, item); break;
        }
    }

    static void pause() {
#if defined(__x86_64__) && !defined(_MSC_VER)
        __builtin_ia32_pause();
#elif defined(_M_X64)
        _mm_pause();
#endif
    }

    static constexpr int SPINS = 2000;  // some 30 microseconds: less than a thread takes to wake up

    const Set *set_;
    const int threads_, height_, width_;
    Memory padded_;
    std::vector<Memory> memory_, scratch_;
    std::vector<Plane> planes_;
    std::vector<Step> steps_;
    size_t most_ = 0;
    float *logits_ = nullptr;

    std::mutex running_, lock_;
    std::condition_variable changed_;
    unsigned long long round_ = 0;
    int inside_ = 0;
    bool open_ = false, closed_ = false;
    std::vector<std::thread> helpers_;
};

const Set *set_of(int feature) {
    switch (feature) {
        case AVX2: return set_avx2();
        case AVX512: return set_avx512();
        case AVX512_BF16: return set_avx512_bf16();
        default: return nullptr;
    }
}

// What `act` gives, or -1 when memory is short.
template <typename Act>
int guarded(Act act) {
    try {
        return act();
    } catch (...) {
        return -1;
    }
}

}  // namespace

PUBLIC int endostream_features() { return features(); }

PUBLIC void *endostream_open(int feature, int threads, int height, int width) {
    const Set *set = set_of(feature);
    if (set == nullptr || !(features() & feature)) return nullptr;
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

PUBLIC int endostream_raise(void *network, int in, int in_offset, int inputs, int out, int out_offset, int outputs,
                            const float *weights, const float *bias) {
    return guarded([&] {
        ((Network *)network)->raise(in, in_offset, inputs, out, out_offset, outputs, weights, bias);
        return 0;
    });
}

PUBLIC int endostream_last(void *network, int in, int offset, int inputs, const float *weights, const float *bias) {
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
