/* The layout of a dict. root[0] is a directory (segments.h) of blocks of entries, root[1] the index (dict_index.h). */
#ifndef DICT_LAYOUT_H
#define DICT_LAYOUT_H

#include "value/key.h"

/* A dict's words, in this order: positions used in the segments; entries; last sequence given; a count that grows each
 * time entries change their positions; pages of the index; slots in each page; index_page_mask() of the pages. */
enum { DICT_USED, DICT_LIVE, DICT_SEQUENCE, DICT_EPOCH, DICT_PAGES, DICT_SLOTS, DICT_MASK, DICT_WORDS };

struct entry {
    /* Grows with each insertion; 0: no entry, whatever the other words hold. So it is the last word written, and the
     * first cleared, and always with its old value noted (undo.h). */
    _Atomic uint64_t sequence;
    struct stored_key key;
    struct cell value;
};

#endif
