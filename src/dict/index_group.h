/* The slots of a dict's index in groups of eight, which is one cache line. With SSE2 all eight are compared at once, so
 * there is no loop whose end the processor would mispredict.
 *
 * Other threads may store slots meanwhile. Each is stored by one store and is seen whole. */
#ifndef INDEX_GROUP_H
#define INDEX_GROUP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define INDEX_GROUP UINT64_C(8)
#define INDEX_TOMBSTONE UINT64_C(0xffffffff)

/* Whether a slot is neither empty nor a tombstone: the lower half of these is 0 or all ones. */
static inline bool index_is_entry(uint64_t slot)
{
    return (uint32_t)(slot + 1) > 1;
}

/* The three functions below return a mask whose bit i stands for slot i. index_group_match(): the upper half is the
 * tag. index_group_empty(): the slot is empty. index_group_free(): the slot is empty or a tombstone. */

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define INDEX_GROUP_PLAINLY
#endif
#endif
#if defined(__SSE2__) && !defined(__SANITIZE_THREAD__) && !defined(INDEX_GROUP_PLAINLY)
#include <emmintrin.h>

/* The upper or the lower halves, four of them in each vector. */
static inline void index_group_halves(const _Atomic uint64_t *group, bool upper, __m128i half[2])
{
    const float *word = (const float *)group;

    for (int i = 0; i < 2; i++, word += 8) {
        __m128 a = _mm_load_ps(word), b = _mm_load_ps(word + 4);

        half[i] = _mm_castps_si128(upper ? _mm_shuffle_ps(a, b, _MM_SHUFFLE(3, 1, 3, 1))
                                         : _mm_shuffle_ps(a, b, _MM_SHUFFLE(2, 0, 2, 0)));
    }
}

/* A bit for each of eight halves that are all ones or all zeros. */
static inline unsigned index_group_bits(__m128i low, __m128i high)
{
    return (unsigned)_mm_movemask_epi8(_mm_packs_epi16(_mm_packs_epi32(low, high), _mm_setzero_si128()));
}

static inline unsigned index_group_match(const _Atomic uint64_t *group, uint32_t tag)
{
    __m128i half[2], wanted = _mm_set1_epi32((int)tag);

    index_group_halves(group, true, half);
    return index_group_bits(_mm_cmpeq_epi32(half[0], wanted), _mm_cmpeq_epi32(half[1], wanted));
}

static inline unsigned index_group_empty(const _Atomic uint64_t *group)
{
    __m128i half[2], zero = _mm_setzero_si128();

    index_group_halves(group, false, half);
    return index_group_bits(_mm_cmpeq_epi32(half[0], zero), _mm_cmpeq_epi32(half[1], zero));
}

static inline unsigned index_group_free(const _Atomic uint64_t *group)
{
    __m128i half[2], zero = _mm_setzero_si128(), ones = _mm_cmpeq_epi32(zero, zero);

    index_group_halves(group, false, half);
    return index_group_bits(_mm_or_si128(_mm_cmpeq_epi32(half[0], zero), _mm_cmpeq_epi32(half[0], ones)),
                            _mm_or_si128(_mm_cmpeq_epi32(half[1], zero), _mm_cmpeq_epi32(half[1], ones)));
}
#else
static inline uint64_t index_group_slot(const _Atomic uint64_t *group, unsigned i)
{
    return atomic_load_explicit(&group[i], memory_order_relaxed);
}

static inline unsigned index_group_match(const _Atomic uint64_t *group, uint32_t tag)
{
    unsigned match = 0;

    for (unsigned i = 0; i < INDEX_GROUP; i++)
        match |= (unsigned)(index_group_slot(group, i) >> 32 == tag) << i;
    return match;
}

static inline unsigned index_group_empty(const _Atomic uint64_t *group)
{
    unsigned empty = 0;

    for (unsigned i = 0; i < INDEX_GROUP; i++)
        empty |= (unsigned)((uint32_t)index_group_slot(group, i) == 0) << i;
    return empty;
}

static inline unsigned index_group_free(const _Atomic uint64_t *group)
{
    unsigned free = 0;

    for (unsigned i = 0; i < INDEX_GROUP; i++)
        free |= (unsigned)(!index_is_entry(index_group_slot(group, i))) << i;
    return free;
}
#endif

#endif
