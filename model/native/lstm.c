/* The network on a CPU with AVX2 or AVX-512 VNNI: what model/engine_native.py drives. build.py compiles it for either,
 * and for AVX-512 VNNI with EIGHT_BITS too.
 *
 * The recurrence is computed in integers of 16 bits, two products an instruction lane where float32 has one, or of 8, of
 * which there are four. A hidden state lies in (-1, 1), so its scale is fixed: an answer doesn't depend on what else is
 * in the batch. Each row of weights has a scale of its own, chosen by the engine so that no sum can leave 32 bits.
 * Where states and weights are rounded to 8 bits, all three have the same sums. The input product of the layer is looked up
 * in a table, a row a token, as a token's is always the same; the engine has a row filled when its token is first met.
 * Rows go through all their steps in groups, sorted by length, and nothing is padded.
 *
 * V tokens, E embedding, H hidden units a direction, D directions, C classes; U blocks of LANES units, H / LANES rounded
 * up. Outputs of a direction are in the order (U, GATES, LANES), so that a block holds all gates of its units.
 */

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))

/* All that the two widths differ in: V(add_epi32) is the instruction of the one that is compiled. Both do the same lane by
 * lane, so their answers are the same to the bit. */
#ifdef __AVX512VNNI__

#define NAME "AVX-512 VNNI"
#define V(instruction) _mm512_##instruction
#define TILES(each) each(1) each(2) each(3) each(4) each(5) each(6)

enum {
    LANES = 16, /* units that one register of float32 holds */
    TILE = 6,   /* rows whose sums for one block fit the 32 registers, beside the weights and a state */
};

typedef __m512 Floats;
typedef __m512i Integers;
typedef __m256i Shorts; /* LANES integers of 16 bits */

EXPORT int lembra_runs_here(void) { return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni"); }

INLINE Floats rounded(Floats x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

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

#define NAME "AVX2"
#define V(instruction) _mm256_##instruction
#define TILES(each) each(1) each(2) each(3)

enum {
    LANES = 8, /* units that one register of float32 holds */
    TILE = 3,  /* rows whose sums for one block fit the sixteen registers, beside a state and a product */
};

typedef __m256 Floats;
typedef __m256i Integers;
typedef __m128i Shorts; /* LANES integers of 16 bits */

EXPORT int lembra_runs_here(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

INLINE Floats rounded(Floats x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

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

enum {
    PRODUCTS = 32 / BITS, /* that a lane has a place for */
    GATES = 4,  /* input, forget, candidate, output: torch's order */
    GROUP = 24, /* rows that share a look at the weights; their states stay in the first cache */
    PARTS = 8,  /* sums that the head's products of a row go to by turns, at either width */
};

/* Of one direction. The arrays belong to the engine. */
typedef struct {
    const Weight *recurrent;   /* (U, H / PRODUCTS, GATES, LANES, PRODUCTS) */
    const int32_t *start;      /* (U, GATES, LANES): what a sum begins with */
    const float *scale;        /* (U, GATES, LANES): a sum of integer products times it is a pre-activation */
    const float *input;        /* (E, U, GATES, LANES) */
    const float *bias;         /* (U, GATES, LANES): of both kinds */
    int16_t *table;            /* (V, U, GATES, LANES) */
    float *table_scale;        /* (V): a token's row times it is its input product with the bias */
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
EXPORT int lembra_interface(void) { return 3; }

EXPORT const char *lembra_name(void) { return NAME; }

EXPORT int lembra_bits(void) { return BITS; }

EXPORT int lembra_lanes(void) { return LANES; }

EXPORT int lembra_group(void) { return GROUP; }

/* e to the power of x, for |x| below 80: 2^n times a Taylor series of six terms in the rest, whose error is below the
 * last digit of float32. */
INLINE Floats exponential(Floats x) {
    const Floats n = rounded(x * 1.44269504f);
    const Floats high = V(fnmadd_ps)(n, V(set1_ps)(0.693359375f), x);
    const Floats rest = V(fnmadd_ps)(n, V(set1_ps)(-2.12194440e-4f), high);
    Floats sum = V(set1_ps)(1.0f / 720);
    sum = V(fmadd_ps)(sum, rest, V(set1_ps)(1.0f / 120));
    sum = V(fmadd_ps)(sum, rest, V(set1_ps)(1.0f / 24));
    sum = V(fmadd_ps)(sum, rest, V(set1_ps)(1.0f / 6));
    sum = V(fmadd_ps)(sum, rest, V(set1_ps)(0.5f));
    sum = V(fmadd_ps)(sum, rest, V(set1_ps)(1.0f));
    sum = V(fmadd_ps)(sum, rest, V(set1_ps)(1.0f));
    return (Floats)V(add_epi32)((Integers)sum, V(slli_epi32)(V(cvtps_epi32)(n), 23));
}

INLINE Floats clamped(Floats x) { return V(max_ps)(V(min_ps)(x, V(set1_ps)(40.0f)), V(set1_ps)(-40.0f)); }

/* sigmoid(a) * tanh(b), in one division. */
INLINE Floats gated(Floats a, Floats b) {
    const Floats first = exponential(clamped(-a)), second = exponential(clamped(b * -2.0f));
    return (1.0f - second) / ((1.0f + first) * (1.0f + second));
}

INLINE Floats sigmoid(Floats x) { return 1.0f / (1.0f + exponential(clamped(-x))); }

/* What the states of `rows` rows add to the gates of one block: (rows, GATES) registers of integers. */
INLINE void recur(const Integers *weights, const Integers *start, const State *states, int64_t units, const int rows,
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
        recur(weights, start, states, units, rows, sums); \
    }
TILES(FUNCTION)

#define ADDRESS(rows) recur_##rows,
static void (*const recur_rows[])(const Integers *, const Integers *, const State *, int64_t, Integers *) = {TILES(ADDRESS)};

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
    const Floats cell = sigmoid(gates[1]) * V(load_ps)(states->cell + place) + gated(gates[0], gates[2]);
    const Floats hidden = gated(gates[3], cell);
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
            recur_rows[count - 1](weights, start, states->before + row * units, units, sums);
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
    const int64_t units = (network->hidden + LANES - 1) / LANES * LANES;
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
            read_group(network, which, &states, units, count, order + first, ids, stride, lengths);
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
    const int64_t outputs = (network->hidden + LANES - 1) / LANES * LANES * GATES;
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
            direction->table_scale[tokens[index]] = largest / 32767;
        }
    }
    free(sums);
    return 0;
}
