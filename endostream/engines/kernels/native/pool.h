// Memory, and the threads that share the items of a network's steps. For files without an instruction set of
// their own.
#ifndef ENDOSTREAM_POOL_H
#define ENDOSTREAM_POOL_H

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#if defined(_WIN32)
#include <malloc.h>
#endif
#if defined(_MSC_VER)
#include <intrin.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace {

// Zeroed memory at a page's start; large pieces ask for large pages.
class Memory {
  public:
    explicit Memory(size_t bytes) {
        constexpr size_t large = 2u << 20;
        const size_t unit = bytes >= 4 * large ? large : 4096;
        bytes = (bytes + unit - 1) / unit * unit;
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

// A few threads that go through steps together; the caller is one of them.
class Pool {
  public:
    using Work = std::function<void(int item, char *scratch)>;

    explicit Pool(int threads) : threads_(threads < 1 ? 1 : threads) {
        for (int n = 1; n < threads_; n++) helpers_.emplace_back([this, n] { help(n); });
    }

    ~Pool() {
        {
            std::lock_guard<std::mutex> hold(lock_);
            closed_ = true;
        }
        changed_.notify_all();
        for (auto &helper : helpers_) helper.join();
    }

    int threads() const { return threads_; }

    // A step of so many items; `scratch` bytes are each thread's own while it works on one.
    void add(int items, size_t scratch, Work work) {
        steps_.push_back({items, std::move(work), std::make_unique<std::atomic<int>>(0),
                          std::make_unique<std::atomic<int>>(0)});
        if (scratch > most_) most_ = scratch;
    }

    // Scratch memory for every thread; called once, before the first run.
    void settle() {
        for (int n = 0; n < threads_; n++) scratch_.emplace_back(most_);
    }

    // Every item of every step, step after step.
    void run() {
        for (auto &step : steps_) {
            *step.next = 0;
            *step.done = 0;
        }
        {
            std::lock_guard<std::mutex> hold(lock_);
            round_++;
            open_ = true;
        }
        changed_.notify_all();
        go(0);
        std::unique_lock<std::mutex> hold(lock_);
        open_ = false;
        changed_.wait(hold, [this] { return inside_ == 0; });
    }

  private:
    struct Step {
        int items;
        Work work;
        std::unique_ptr<std::atomic<int>> next, done;
    };

    void help(int number) {
        unsigned long long seen = 0;
        std::unique_lock<std::mutex> hold(lock_);
        while (true) {
            changed_.wait(hold, [&] { return closed_ || (open_ && round_ != seen); });
            if (closed_) return;
            seen = round_;
            inside_++;
            hold.unlock();
            go(number);
            hold.lock();
            if (--inside_ == 0) changed_.notify_all();
        }
    }

    // All steps in turn. A thread that finds no item left waits for those that others still hold; one that
    // the system does not let run holds nobody up.
    void go(int number) {
        char *scratch = scratch_[number].get();
        for (auto &step : steps_) {
            int item;
            while ((item = step.next->fetch_add(1)) < step.items) {
                step.work(item, scratch);
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

    static void pause() {
#if defined(__x86_64__) && !defined(_MSC_VER)
        __builtin_ia32_pause();
#elif defined(_M_X64)
        _mm_pause();
#endif
    }

    static constexpr int SPINS = 2000;  // some 30 microseconds: less than a thread takes to wake up

    const int threads_;
    std::vector<Memory> scratch_;
    std::vector<Step> steps_;
    size_t most_ = 0;
    std::mutex lock_;
    std::condition_variable changed_;
    unsigned long long round_ = 0;
    int inside_ = 0;
    bool open_ = false, closed_ = false;
    std::vector<std::thread> helpers_;
};

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

#endif
