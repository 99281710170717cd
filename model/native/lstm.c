/* The network on a CPU with AVX2: what model/engine_native.py drives.
 *
 * The recurrence is computed in 16-bit integers, two products an instruction lane where float32 has one. A hidden state
 * lies in (-1, 1), so its scale is fixed: an answer doesn't depend on what else is in the batch. Each row of weights has
 * a scale of its own, chosen by the engine so that no sum can leave 32 bits. The input product of the layer is looked up
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

enum {
    LANES = 8, /* units that one register of float32 holds */
    GATES = 4, /* input, forget, candidate, output: torch's order */
    TILE = 3,  /* rows whose sums for one block fit the sixteen registers, beside a state and a product */
    GROUP = 24, /* rows that share a look at the weights; their states stay in the first cache beside a block's weights */
};

/* Of one direction. The arrays belong to the engine. */
typedef struct {
    const int16_t *recurrent;  /* (U, pairs of H, GATES, LANES, 2) */
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
    int16_t *before, *after;   /* hidden states as integers */
    float *cell, *highest, *sum, *last;
} States;

/* What engine_native.py must be written for: raised with every change of these functions or structs. */
EXPORT int lembra_interface(void) { return 1; }

EXPORT int lembra_runs_here(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

EXPORT int lembra_group(void) { return GROUP; }

/* e to the power of x, for |x| below 80: 2^n times a Taylor series of six terms in the rest, whose error is below the
 * last digit of float32. */
INLINE __m256 exponential(__m256 x) {
    const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m256 high = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
    const __m256 rest = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), high);
    __m256 sum = _mm256_set1_ps(1.0f / 720);
    sum = _mm256_fmadd_ps(sum, rest, _mm256_set1_ps(1.0f / 120));
    sum = _mm256_fmadd_ps(sum, rest, _mm256_set1_ps(1.0f / 24));
    sum = _mm256_fmadd_ps(sum, rest, _mm256_set1_ps(1.0f / 6));
    sum = _mm256_fmadd_ps(sum, rest, _mm256_set1_ps(0.5f));
    sum = _mm256_fmadd_ps(sum, rest, _mm256_set1_ps(1.0f));
    sum = _mm256_fmadd_ps(sum, rest, _mm256_set1_ps(1.0f));
    const __m256i power = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(sum), power));
}

INLINE __m256 clamped(__m256 x) {
    return _mm256_max_ps(_mm256_min_ps(x, _mm256_set1_ps(40.0f)), _mm256_set1_ps(-40.0f));
}

/* sigmoid(a) * tanh(b), in one division. */
INLINE __m256 gated(__m256 a, __m256 b) {
    const __m256 one = _mm256_set1_ps(1.0f);
    const __m256 first = exponential(clamped(_mm256_sub_ps(_mm256_setzero_ps(), a)));
    const __m256 second = exponential(clamped(_mm256_mul_ps(b, _mm256_set1_ps(-2.0f))));
    const __m256 below = _mm256_mul_ps(_mm256_add_ps(one, first), _mm256_add_ps(one, second));
    return _mm256_div_ps(_mm256_sub_ps(one, second), below);
}

INLINE __m256 sigmoid(__m256 x) {
    const __m256 one = _mm256_set1_ps(1.0f);
    return _mm256_div_ps(one, _mm256_add_ps(one, exponential(clamped(_mm256_sub_ps(_mm256_setzero_ps(), x)))));
}

/* Products of two 16-bit integers a lane, summed. From memory: with the weights in a register of their own the sums of
 * TILE rows would no longer fit beside them, and gcc would keep them on the stack, at half the speed. */
INLINE __m256i products(__m256i state, const __m256i *weights) {
    __m256i found;
    __asm__("vpmaddwd %2, %1, %0" : "=x"(found) : "x"(state), "m"(*weights));
    return found;
}

/* What the states of `rows` rows add to the gates of one block: (rows, GATES) registers of integers. */
INLINE void recur(const __m256i *weights, const int16_t *states, int64_t units, const int rows, __m256i *sums) {
    __m256i kept[TILE][GATES];
#pragma GCC unroll 3
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int gate = 0; gate < GATES; gate++) kept[r][gate] = _mm256_setzero_si256();
    for (const int16_t *end = states + units; states < end; states += 2, weights += GATES) {
#pragma GCC unroll 3
        for (int r = 0; r < rows; r++) {
            const __m256i state = _mm256_set1_epi32(*(const int32_t *)(const void *)(states + r * units));
#pragma GCC unroll 4
            for (int gate = 0; gate < GATES; gate++)
                kept[r][gate] = _mm256_add_epi32(kept[r][gate], products(state, weights + gate));
        }
    }
#pragma GCC unroll 3
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int gate = 0; gate < GATES; gate++) sums[r * GATES + gate] = kept[r][gate];
}

/* Apart from each other, so that each has all registers for itself. */
static void __attribute__((noinline)) recur_3(const __m256i *weights, const int16_t *states, int64_t units, __m256i *sums) {
    recur(weights, states, units, 3, sums);
}

static void __attribute__((noinline)) recur_2(const __m256i *weights, const int16_t *states, int64_t units, __m256i *sums) {
    recur(weights, states, units, 2, sums);
}

static void __attribute__((noinline)) recur_1(const __m256i *weights, const int16_t *states, int64_t units, __m256i *sums) {
    recur(weights, states, units, 1, sums);
}

/* From the sums of one row and block: its gates, cell and hidden states, and what is pooled of them. `place` is where
 * the block's units stand in the states. */
INLINE void step(const Network *network, const States *states, int64_t place, const __m256i *sums, const float *scale,
                 const int16_t *input, float input_scale) {
    __m256 gates[GATES];
    for (int gate = 0; gate < GATES; gate++) {
        const __m256i looked_up = _mm256_cvtepi16_epi32(_mm_load_si128((const __m128i *)(input + gate * LANES)));
        gates[gate] = _mm256_mul_ps(_mm256_cvtepi32_ps(looked_up), _mm256_set1_ps(input_scale));
        gates[gate] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[gate]), _mm256_load_ps(scale + gate * LANES), gates[gate]);
    }
    const __m256 kept = _mm256_mul_ps(sigmoid(gates[1]), _mm256_load_ps(states->cell + place));
    const __m256 cell = _mm256_add_ps(kept, gated(gates[0], gates[2]));
    const __m256 hidden = gated(gates[3], cell);
    _mm256_store_ps(states->cell + place, cell);
    _mm256_store_ps(states->last + place, hidden);
    _mm256_store_ps(states->highest + place, _mm256_max_ps(hidden, _mm256_load_ps(states->highest + place)));
    _mm256_store_ps(states->sum + place, _mm256_add_ps(hidden, _mm256_load_ps(states->sum + place)));
    const __m256i whole = _mm256_cvtps_epi32(_mm256_mul_ps(hidden, _mm256_set1_ps(network->state_scale)));
    _mm_store_si128((__m128i *)(states->after + place),
                    _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1)));
}

/* One step of all units of `rows` rows: block by block, so that a block's weights are read from memory once a step.
 * There and back by turns: what one step read last is still in the second cache, which hasn't room for all weights, when
 * the next reads it first. */
static void all_blocks(const Network *network, const Direction *direction, const States *states, int64_t units,
                       int64_t rows, const int64_t *tokens, int back) {
    const int64_t blocks = units / LANES;
    for (int64_t turn = 0; turn < blocks; turn++) {
        const int64_t block = back ? blocks - 1 - turn : turn;
        const __m256i *weights = (const __m256i *)(direction->recurrent + block * units * GATES * LANES);
        const float *scale = direction->scale + block * GATES * LANES;
        for (int64_t row = 0; row < rows; row += TILE) {
            __m256i sums[TILE * GATES];
            const int64_t count = rows - row < TILE ? rows - row : TILE;
            (count == 3 ? recur_3 : count == 2 ? recur_2 : recur_1)(weights, states->before + row * units, units, sums);
            for (int64_t r = 0; r < count; r++) {
                const int64_t token = tokens[row + r];
                step(network, states, (row + r) * units + block * LANES, sums + r * GATES, scale,
                     direction->table + (token * units + block * LANES) * GATES, direction->table_scale[token]);
            }
        }
    }
}

/* All steps of a group in one direction. Lengths don't rise, so the rows that are still read come first. */
static void read_group(const Network *network, int which, States *states, int64_t units, int64_t rows, const int64_t *order,
                       const int64_t *ids, int64_t stride, const int64_t *lengths) {
    const Direction *direction = &network->direction[which];
    memset(states->before, 0, sizeof(int16_t) * rows * units);
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
        int16_t *before = states->before;
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
            float lanes[LANES] = {0};
            for (int64_t unit = 0; unit < hidden; unit++) lanes[unit % LANES] += weights[unit] * parts[part][unit];
            float total = 0;
            for (int lane = 0; lane < LANES; lane++) total += lanes[lane];
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
    int16_t *integers = aligned_alloc(64, sizeof(int16_t) * size * 2);
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
                const __m256 value = _mm256_set1_ps(vectors[index * network->embedding + dimension]);
                const float *weights = direction->input + dimension * outputs;
                for (int64_t output = 0; output < outputs; output += LANES)
                    _mm256_store_ps(sums + output, _mm256_fmadd_ps(value, _mm256_load_ps(weights + output),
                                                                   _mm256_load_ps(sums + output)));
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
