/* The network on a CPU with AVX2, AVX-512 VNNI or AMX: what model/engine_native.py drives. build.py compiles it for each,
 * and for AVX-512 VNNI with EIGHT_BITS too, as AMX has it.
 *
 * The recurrence is computed in integers of 16 bits, two products an instruction lane where float32 has one, or of 8, of
 * which there are four, or tiles of them at once. A hidden state lies in (-1, 1), so its scale is fixed: an answer doesn't
 * depend on what else is in the batch. Each row of weights has a scale of its own, chosen by the engine so that no sum can
 * leave 32 bits. Where states and weights are rounded to 8 bits, all have the same sums. The input product of the layer is
 * looked up in a table, a row a token, as a token's is always the same; the engine has a row filled when its token is
 * first met. Rows go through all their steps in groups, sorted by length, and no text is padded.
 *
 * V tokens, E embedding, H hidden units a direction, D directions, C classes; U blocks of LANES units, of which H fills the
 * first. Outputs of a direction are in the order (U, GATES, LANES), so that a block holds all gates of its units.
 */

#define _GNU_SOURCE
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef __AMX_INT8__
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define EXPORT __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))

/* The two widths of registers: V(add_epi32) is the instruction of the one that is compiled. Both do the same lane by lane,
 * so their answers are the same to the bit. */
#ifdef __AVX512VNNI__

#define V(instruction) _mm512_##instruction

enum { LANES = 16 }; /* units that one register of float32 holds */

typedef __m512 Floats;
typedef __m512i Integers;
typedef __m256i Shorts; /* LANES integers of 16 bits */

static int has_width(void) { return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni"); }

#ifdef EIGHT_BITS

typedef int8_t Weight;
typedef uint8_t State; /* as the instruction wants it: 128 more than the integer, which Direction.start takes back */

enum { BITS = 8, ZERO = 128 };

INLINE void keep(State *place, Integers states) {
    *(__m128i *)place = _mm512_cvtepi32_epi8(_mm512_add_epi32(states, _mm512_set1_epi32(ZERO)));
}

/* To each lane of `sum`, products of four integers. */
INLINE Integers with_products(Integers sum, Integers state, const Integers *weights) {
    return _mm512_dpbusd_epi32(sum, state, *weights);
}

#else

INLINE Shorts narrowed(Integers x) { return _mm512_cvtsepi32_epi16(x); }

/* To each lane of `sum`, products of two integers. */
INLINE Integers with_products(Integers sum, Integers state, const Integers *weights) {
    return _mm512_dpwssd_epi32(sum, state, *weights);
}

#endif

#else

#define V(instruction) _mm256_##instruction

enum { LANES = 8 }; /* units that one register of float32 holds */

typedef __m256 Floats;
typedef __m256i Integers;
typedef __m128i Shorts; /* LANES integers of 16 bits */

static int has_width(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

INLINE Shorts narrowed(Integers x) { return _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1)); }

/* To each lane of `sum`, products of two integers. From memory: with the weights in a register of their own the
 * sums of TILE rows would no longer fit beside them, and gcc would keep them on the stack, at half the speed. */
INLINE Integers with_products(Integers sum, Integers state, const Integers *weights) {
    Integers products;
    __asm__("vpmaddwd %2, %1, %0" : "=x"(products) : "x"(state), "m"(*weights));
    return _mm256_add_epi32(sum, products);
}

#endif

#ifndef EIGHT_BITS

typedef int16_t Weight;
typedef int16_t State;

enum { BITS = 16, ZERO = 0 };

INLINE void keep(State *place, Integers states) { *(Shorts *)place = narrowed(states); }

#endif

#define LOG2_E 1.44269504f

enum {
    PRODUCTS = 32 / BITS, /* that a lane has a place for */
    GATES = 4, /* input, forget, candidate, output: torch's order */
    PARTS = 8, /* sums that the head's products of a row go to by turns, at either width */
};

/* Of one direction. The arrays belong to the engine. */
typedef struct {
    const Weight *recurrent;   /* (U, H / PRODUCTS, GATES, LANES, PRODUCTS) */
    const int32_t *start;      /* (U, GATES, LANES): what a sum begins with */
    const float *scale;        /* (U, GATES, LANES): a sum of integer products times it is a pre-activation times -LOG2_E */
    const float *input;        /* (E, U, GATES, LANES) */
    const float *bias;         /* (U, GATES, LANES): of both kinds */
    int16_t *table;            /* (V, U, GATES, LANES) */
    float *table_scale;        /* (V): a token's row times it is its input product with the bias, times -LOG2_E */
} Direction;

typedef struct {
    int64_t embedding, hidden, directions, classes;
    float state_scale;         /* a hidden state times it is its integer */
    Direction direction[2];
    const float *head;         /* (C, 3 * D * H): of the highest, mean and last states */
    const float *head_bias;    /* (C) */
} Network;

/* Of a group of rows, in one direction: (GROUP, units) each. */
typedef struct {
    State *before, *after;     /* hidden states as integers */
    float *cell, *highest, *sum, *last;
} States;

/* What engine_native.py must be written for: raised with every change of these functions or structs. */
EXPORT int lembra_interface(void) { return 4; }

/* 2 to the power of x, for x cut to -40 to 40: a polynomial of the rest, which is off by 3e-6 of it at most (the best of its
 * degree, by Lawson's iteration), with the whole number added to the exponent. A float32 near ROUND has no digits behind
 * the point, and the last ones before it are the whole number. */
INLINE Floats power_of_two(Floats x) {
    const float ROUND = 12582912.0f; /* 1.5 * 2^23 */
    const Floats cut = V(max_ps)(V(min_ps)(x, V(set1_ps)(40.0f)), V(set1_ps)(-40.0f));
    const Floats shifted = cut + ROUND, rest = cut - (shifted - ROUND);
    Floats sum = V(fmadd_ps)(V(set1_ps)(0.009582853f), rest, V(set1_ps)(0.055906426f));
    sum = V(fmadd_ps)(sum, rest, V(set1_ps)(0.240240991f));
    sum = V(fmadd_ps)(sum, rest, V(set1_ps)(0.693124175f));
    sum = V(fmadd_ps)(sum, rest, V(set1_ps)(1.0f));
    return (Floats)V(add_epi32)((Integers)sum, V(slli_epi32)((Integers)shifted, 23));
}

#if defined(__AMX_INT8__)

#define NAME "AMX"
#define TILES(each) each(1)

enum {
    TILE = 16,  /* rows that a tile has */
    GROUP = 16, /* rows that share a look at the weights */
    WHOLE = 64, /* units are padded to a multiple of it: so many states a row of a tile has */
};

#elif defined(__AVX512VNNI__)

#define NAME "AVX-512 VNNI"
#define TILES(each) each(1) each(2) each(3) each(4) each(5) each(6)

enum {
    TILE = 6,   /* rows whose sums for one block fit the 32 registers, beside the weights and a state */
    GROUP = 24, /* rows that share a look at the weights; their states stay in the first cache */
    WHOLE = LANES,
};

#else

#define NAME "AVX2"
#define TILES(each) each(1) each(2) each(3)

enum {
    TILE = 3, /* rows whose sums for one block fit the sixteen registers, beside a state and a product */
    GROUP = 24,
    WHOLE = LANES,
};

#endif

/* What the states of `rows` rows add to the gates of one block: (rows, GATES) registers of integers. */
INLINE void add_products(const Integers *weights, const Integers *start, const State *states, int64_t units, const int rows,
                         Integers *sums) {
    Integers kept[TILE][GATES];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int gate = 0; gate < GATES; gate++) kept[r][gate] = start[gate];
    for (const State *end = states + units; states < end; states += PRODUCTS, weights += GATES) {
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            const Integers state = V(set1_epi32)(*(const int32_t *)(const void *)(states + r * units));
#pragma GCC unroll 4
            for (int gate = 0; gate < GATES; gate++) kept[r][gate] = with_products(kept[r][gate], state, weights + gate);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int gate = 0; gate < GATES; gate++) sums[r * GATES + gate] = kept[r][gate];
}

/* recur_1 to recur_TILE, apart from each other, so that each has all registers for itself. */
#define FUNCTION(rows) \
    static void __attribute__((noinline)) \
    recur_##rows(const Integers *weights, const Integers *start, const State *states, int64_t units, Integers *sums) { \
        add_products(weights, start, states, units, rows, sums); \
    }
TILES(FUNCTION)

#ifdef __AMX_INT8__

/* Linux lets a process use tiles once it has asked to. By number, as headers before 5.16 don't name what it is to ask. */
static int has_tiles(void) {
    enum { ARCH_REQ_XCOMP_PERM_ = 0x1023, XFEATURE_XTILEDATA_ = 18 };
    const unsigned tiles = bit_AMX_TILE | bit_AMX_INT8;
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & tiles) != tiles) return 0;
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM_, XFEATURE_XTILEDATA_) == 0;
}

EXPORT int lembra_runs_here(void) { return has_width() && has_tiles(); }

/* Before a thread's first recur() of a group with so many rows. Tiles 0 to 3 have the sums, a gate each, 4 the states,
 * 5 and 6 the weights by turns. */
static void begin(int64_t rows) {
    struct {
        uint8_t palette, first_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shapes = {.palette = 1};
    for (int tile = 0; tile <= 6; tile++) {
        shapes.row_bytes[tile] = WHOLE;
        shapes.rows[tile] = tile <= 4 ? rows : WHOLE / PRODUCTS;
    }
    __asm__ volatile("" ::"m"(shapes)); /* gcc before 14 is told that its first eight bytes are read, and no more */
    _tile_loadconfig(&shapes);
}

static void end(void) { _tile_release(); }

/* Of all rows that begin() was told, though fewer are still read: what it makes of the others isn't looked at. A row that
 * is alone is faster without tiles. */
static void recur(const Integers *weights, const Integers *start, const State *states, int64_t units, int64_t rows,
                  Integers *sums) {
    const int64_t next = GATES * sizeof(Integers);
    if (rows == 1) {
        recur_1(weights, start, states, units, sums);
        return;
    }
    __asm__ volatile("" ::: "memory"); /* gcc isn't told that loads of tiles read memory */
    _tile_loadd(0, start, 0);
    _tile_loadd(1, start + 1, 0);
    _tile_loadd(2, start + 2, 0);
    _tile_loadd(3, start + 3, 0);
    for (const State *last = states + units; states < last; states += WHOLE, weights += WHOLE / PRODUCTS * GATES) {
        _tile_loadd(4, states, units);
        _tile_loadd(5, weights, next);
        _tile_dpbusd(0, 4, 5);
        _tile_loadd(6, weights + 1, next);
        _tile_dpbusd(1, 4, 6);
        _tile_loadd(5, weights + 2, next);
        _tile_dpbusd(2, 4, 5);
        _tile_loadd(6, weights + 3, next);
        _tile_dpbusd(3, 4, 6);
    }
    _tile_stored(0, sums, next);
    _tile_stored(1, sums + 1, next);
    _tile_stored(2, sums + 2, next);
    _tile_stored(3, sums + 3, next);
}

#else

EXPORT int lembra_runs_here(void) { return has_width(); }

static void begin(int64_t rows) { (void)rows; }

static void end(void) {}

#define ADDRESS(rows) recur_##rows,
static void (*const recur_rows[])(const Integers *, const Integers *, const State *, int64_t, Integers *) = {TILES(ADDRESS)};

static void recur(const Integers *weights, const Integers *start, const State *states, int64_t units, int64_t rows,
                  Integers *sums) {
    recur_rows[rows - 1](weights, start, states, units, sums);
}

#endif

EXPORT const char *lembra_name(void) { return NAME; }

EXPORT int lembra_bits(void) { return BITS; }

EXPORT int lembra_lanes(void) { return LANES; }

EXPORT int lembra_group(void) { return GROUP; }

/* H is padded to a multiple of it. */
EXPORT int lembra_whole(void) { return WHOLE; }

static int64_t padded(const Network *network) { return (network->hidden + WHOLE - 1) / WHOLE * WHOLE; }

/* From the sums of one row and block: its gates, cell and hidden states, and what is pooled of them. `place` is where
 * the block's units stand in the states. */
INLINE void step(const Network *network, const States *states, int64_t place, const Integers *sums, const float *scale,
                 const int16_t *input, float input_scale) {
    Floats gates[GATES];
    for (int gate = 0; gate < GATES; gate++) {
        const Integers product = V(cvtepi16_epi32)(*(const Shorts *)(input + gate * LANES));
        gates[gate] = V(cvtepi32_ps)(product) * input_scale;
        gates[gate] = V(fmadd_ps)(V(cvtepi32_ps)(sums[gate]), V(load_ps)(scale + gate * LANES), gates[gate]);
    }
    /* sigmoid(x) is 1 / (1 + e^-x), and tanh(x) is (1 - e^-2x) / (1 + e^-2x): fractions, of which one division is made. */
    const Floats in = 1.0f + power_of_two(gates[0]), forget = 1.0f + power_of_two(gates[1]);
    const Floats candidate = power_of_two(gates[2] + gates[2]);
    const Floats divisor = in * (1.0f + candidate);
    const Floats kept = V(load_ps)(states->cell + place) * divisor;
    const Floats cell = V(fmadd_ps)(1.0f - candidate, forget, kept) / (divisor * forget);
    const Floats out = 1.0f + power_of_two(gates[3]), shown = power_of_two(cell * (-2.0f * LOG2_E));
    const Floats hidden = (1.0f - shown) / (out * (1.0f + shown));
    V(store_ps)(states->cell + place, cell);
    V(store_ps)(states->last + place, hidden);
    V(store_ps)(states->highest + place, V(max_ps)(hidden, V(load_ps)(states->highest + place)));
    V(store_ps)(states->sum + place, hidden + V(load_ps)(states->sum + place));
    keep(states->after + place, V(cvtps_epi32)(hidden * network->state_scale));
}

/* Has a block's input products on their way to the cache while the states are multiplied: they lie anywhere in a table
 * of many megabytes, and to wait for them took a seventh of the time. */
INLINE void fetch(const int16_t *input) {
    for (int place = 0; place < GATES * LANES; place += 32) _mm_prefetch((const char *)(input + place), _MM_HINT_T0);
}

/* A token's input products for the units from `unit` on, one block of them. */
INLINE const int16_t *looked_up(const Direction *direction, int64_t units, int64_t token, int64_t unit) {
    return direction->table + (token * units + unit) * GATES;
}

/* One step of all units of `rows` rows: block by block, so that a block's weights are read from memory once a step.
 * There and back by turns: what one step read last is still in the second cache, which hasn't room for all weights, when
 * the next reads it first. */
static void all_blocks(const Network *network, const Direction *direction, const States *states, int64_t units,
                       int64_t rows, const int64_t *tokens, int back) {
    const int64_t blocks = units / LANES;
    for (int64_t turn = 0; turn < blocks; turn++) {
        const int64_t block = back ? blocks - 1 - turn : turn;
        const Integers *weights = (const Integers *)(direction->recurrent + block * units * GATES * LANES);
        const Integers *start = (const Integers *)(direction->start + block * GATES * LANES);
        const float *scale = direction->scale + block * GATES * LANES;
        for (int64_t row = 0; row < rows; row += TILE) {
            Integers sums[TILE * GATES];
            const int64_t count = rows - row < TILE ? rows - row : TILE;
            for (int64_t r = row; r < row + count; r++) fetch(looked_up(direction, units, tokens[r], block * LANES));
            recur(weights, start, states->before + row * units, units, count, sums);
            for (int64_t r = 0; r < count; r++) {
                const int64_t token = tokens[row + r];
                step(network, states, (row + r) * units + block * LANES, sums + r * GATES, scale,
                     looked_up(direction, units, token, block * LANES), direction->table_scale[token]);
            }
        }
    }
}

/* All steps of a group in one direction. Lengths don't rise, so the rows that are still read come first. */
static void read_group(const Network *network, int which, States *states, int64_t units, int64_t rows, const int64_t *order,
                       const int64_t *ids, int64_t stride, const int64_t *lengths) {
    const Direction *direction = &network->direction[which];
    memset(states->before, ZERO, sizeof(State) * rows * units);
    memset(states->cell, 0, sizeof(float) * rows * units);
    memset(states->sum, 0, sizeof(float) * rows * units);
    for (int64_t place = 0; place < rows * units; place++) states->highest[place] = -1.0f;
    int64_t tokens[GROUP];
    for (int64_t position = 0, longest = lengths[order[0]]; position < longest; position++) {
        while (lengths[order[rows - 1]] <= position) rows--;
        for (int64_t r = 0; r < rows; r++) {
            const int64_t row = order[r];
            tokens[r] = ids[row * stride + (which ? lengths[row] - 1 - position : position)];
        }
        all_blocks(network, direction, states, units, rows, tokens, position % 2);
        State *before = states->before;
        states->before = states->after;
        states->after = before;
    }
}

/* Adds what the head makes of a row's states in one direction to its logits. */
static void add_to_logits(const Network *network, int which, const States *states, int64_t units, int64_t row,
                          int64_t length, float *logits) {
    const int64_t hidden = network->hidden, all = network->directions * hidden;
    const float *parts[3] = {states->highest + row * units, states->sum + row * units, states->last + row * units};
    for (int64_t class = 0; class < network->classes; class++) {
        for (int part = 0; part < 3; part++) {
            const float *weights = network->head + class * 3 * all + part * all + which * hidden;
            float lanes[PARTS] = {0};
            for (int64_t unit = 0; unit < hidden; unit++) lanes[unit % PARTS] += weights[unit] * parts[part][unit];
            float total = 0;
            for (int lane = 0; lane < PARTS; lane++) total += lanes[lane];
            logits[class] += part == 1 ? total / length : total;
        }
    }
}

/* Logits (B, C) of the rows that `order` names, whose lengths don't rise in that order; other rows stay as they are.
 *
 * `ids` is (B, stride), each row read up to its length, and the table must have a row for each id. Returns 0, or 1
 * where there is no memory. */
EXPORT int lembra_scores(const Network *network, int64_t rows, const int64_t *order, const int64_t *ids, int64_t stride,
                         const int64_t *lengths, float *logits) {
    const int64_t units = padded(network);
    const int64_t size = GROUP * units;
    float *floats = aligned_alloc(64, sizeof(float) * size * 4);
    State *integers = aligned_alloc(64, sizeof(State) * size * 2);
    const int failed = !floats || !integers;
    for (int64_t first = 0; !failed && first < rows; first += GROUP) {
        const int64_t count = rows - first < GROUP ? rows - first : GROUP;
        for (int64_t r = first; r < first + count; r++)
            memcpy(logits + order[r] * network->classes, network->head_bias, sizeof(float) * network->classes);
        for (int which = 0; which < network->directions; which++) {
            States states = {integers, integers + size, floats, floats + size, floats + 2 * size, floats + 3 * size};
            begin(count);
            read_group(network, which, &states, units, count, order + first, ids, stride, lengths);
            end();
            for (int64_t r = 0; r < count; r++) {
                const int64_t row = order[first + r];
                add_to_logits(network, which, &states, units, r, lengths[row], logits + row * network->classes);
            }
        }
    }
    free(floats);
    free(integers);
    return failed;
}

/* Fills the tables' rows of `count` tokens from their vectors (count, E). Returns 0, or 1 where there is no memory. */
EXPORT int lembra_fill(const Network *network, int64_t count, const int64_t *tokens, const float *vectors) {
    const int64_t outputs = padded(network) * GATES;
    float *sums = aligned_alloc(64, sizeof(float) * outputs);
    if (!sums) return 1;
    for (int64_t which = 0; which < network->directions; which++) {
        const Direction *direction = &network->direction[which];
        for (int64_t index = 0; index < count; index++) {
            memcpy(sums, direction->bias, sizeof(float) * outputs);
            for (int64_t dimension = 0; dimension < network->embedding; dimension++) {
                const Floats value = V(set1_ps)(vectors[index * network->embedding + dimension]);
                const float *weights = direction->input + dimension * outputs;
                for (int64_t output = 0; output < outputs; output += LANES)
                    V(store_ps)(sums + output, V(fmadd_ps)(value, V(load_ps)(weights + output), V(load_ps)(sums + output)));
            }
            float largest = 1e-30f;
            for (int64_t output = 0; output < outputs; output++) largest = fmaxf(largest, fabsf(sums[output]));
            int16_t *row = direction->table + tokens[index] * outputs;
            for (int64_t output = 0; output < outputs; output++) row[output] = lrintf(sums[output] * (32767 / largest));
            direction->table_scale[tokens[index]] = largest / 32767 * -LOG2_E;
        }
    }
    free(sums);
    return 0;
}
