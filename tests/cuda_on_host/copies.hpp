// Asynchronous copies, and the shared memory of a launch: see copies.cuh.
//
// When a copy lands is not known before its thread has waited for it. So tests run both ends of
// that: it lands when it is issued, or not before the wait that needs it, and until then what is in
// its place is no number. A thread's copies land in groups, the first one first.

#include <deque>

struct Copy {
    void* to;
    const void* from;
    int bytes;
    bool counts;

    void land() const {
        if (counts) {
            std::memcpy(to, from, bytes);
        } else {
            std::memset(to, 0, bytes);
        }
    }
};

static bool land_late, misaligned;
// Of each thread; its last group is not ended yet.
static std::vector<std::deque<std::vector<Copy>>> under_way;

// All bits: not a number, of every type of floating-point numbers.
static const int NO_NUMBER = 0xff;
// More than a stage of any ring.
static const std::size_t BEHIND = 32 << 10;
static std::vector<unsigned char> given_shared;
static std::size_t shared_bytes;

inline unsigned char* dynamic_shared() {
    const std::size_t start = reinterpret_cast<std::size_t>(given_shared.data());
    return given_shared.data() + (16 - start % 16) % 16;
}

inline void begin_block(unsigned int threads) {
    under_way.assign(threads, {{}});
    given_shared.assign(16 + shared_bytes + BEHIND, NO_NUMBER);
}

// Whether a block has written behind its shared memory.
inline bool shared_memory_holds() {
    const unsigned char* behind = dynamic_shared() + shared_bytes;
    for (std::size_t i = 0; i < BEHIND - 16; ++i) {
        if (behind[i] != NO_NUMBER) return false;
    }
    return true;
}

template <int Bytes>
void copy_async(void* to, const void* from, bool counts) {
    static_assert(Bytes == 4 || Bytes == 8 || Bytes == 16, "what the instruction copies");
    const std::size_t place = reinterpret_cast<std::size_t>(to);
    const std::size_t source = reinterpret_cast<std::size_t>(from);
    misaligned = misaligned || place % Bytes != 0 || source % Bytes != 0;
    const Copy copy = {to, from, Bytes, counts};
    if (!land_late) return copy.land();
    std::memset(to, NO_NUMBER, Bytes);
    under_way[threadIdx.x].back().push_back(copy);
}

inline void end_group() { under_way[threadIdx.x].push_back({}); }

template <int Most>
void wait_for_groups() {
    std::deque<std::vector<Copy>>& groups = under_way[threadIdx.x];
    while (groups.size() > Most + 1) {
        for (const Copy& copy : groups.front()) copy.land();
        groups.pop_front();
    }
}
