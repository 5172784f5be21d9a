/* The native core of code generation: the innermost loops of scheduling and register allocation on plain numbers.
 *
 * Each function does exactly what its Python counterpart in `codegen` does and gives the same result, number by number;
 * that counterpart is the reference, and what runs where there is no C++ compiler. Functions keep no state and may be
 * called by several threads at once. Lists of lists are two arrays: list i is `items[starts[i]]` to
 * `items[starts[i + 1] - 1]`.
 */
#ifndef ATALLA_CODEGEN_H
#define ATALLA_CODEGEN_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define ATALLA_API __attribute__((visibility("default")))
#else
#define ATALLA_API
#endif

/* Changes whenever a structure or what a function gives does: an older library then counts as absent. */
#define ATALLA_CODEGEN_ABI 10

#define ATALLA_FILES 3

ATALLA_API int32_t atalla_codegen_abi(void);

/* The digest of the sources that the library was built from. */
ATALLA_API const char* atalla_codegen_sources(void);

/* Blocks of instructions, each of which is scheduled for itself. Instructions are of a kind, which says all but their
 * registers and the memory that they touch. */
typedef struct atalla_blocks {
  int32_t num_registers;
  int32_t num_spaces;
  int32_t num_objects;
  int32_t num_units;
  int32_t num_books;
  int32_t num_groups;
  int32_t vector_file;
  int32_t array_drain_cycles;
  int32_t reductions_in_flight;
  int32_t slots;      /* of a packet */
  int32_t candidates; /* ready instructions of a unit that are tried */
  int32_t bank_offsets[ATALLA_FILES]; /* of the bits that stand for the banks of each file */
  int64_t empty_packet; /* countable resources of a packet: a field for each */
  int64_t over;         /* the bits that say that one is used up */
  /* of each kind */
  const int32_t* roles;       /* ATALLA_ROLE_... */
  const int32_t* latencies;   /* of results */
  const int32_t* unit_cycles; /* until the unit takes another one */
  const int32_t* row_cycles;  /* until the transpose unit takes another one */
  const int32_t* units;
  const int32_t* groups; /* what keeps the same thing busy */
  const int64_t* counts;
  const int32_t* books; /* of units, see `resources.UnitTimes` */
  const int32_t* busy;
  const int32_t* early;
  const int32_t* queues;
  const int32_t* flights;
  /* of each register */
  const int32_t* files;
  const int32_t* is_hard_wired;
  const int32_t* fixed_banks; /* the bits of the banks that reading a fixed one takes, -1 for all others */
  /* of each instruction: its kind, registers that it reads by ports, registers that it writes, whether it also reads
   * these, and the number of a set of accesses to memory */
  const int32_t* kinds;
  const int32_t* read_starts;
  const int32_t* reads;
  const int32_t* def_starts;
  const int32_t* defs;
  const int32_t* merges;
  const int32_t* access_sets;
  /* accesses to rows `lows` to `highs` - 1 of objects, ATALLA_UNKNOWN for unknown ones */
  const int32_t* access_starts;
  const int32_t* access_objects;
  const int32_t* access_lows;
  const int32_t* access_highs;
  const int32_t* access_writes;
  const int32_t* access_waits;
  /* of each object: its space, and whether it may be anything there */
  const int32_t* object_spaces;
  const int32_t* is_any_object;
  /* of each block: instructions, registers that are live at its start and after it, and whether it is in a loop, or is
   * one */
  const int32_t* block_starts;
  const int32_t* live_in_starts;
  const int32_t* live_in;
  const int32_t* live_out_starts;
  const int32_t* live_out;
  const int32_t* is_in_loop;
  const int32_t* repeats;
} atalla_blocks;

#define ATALLA_UNKNOWN INT32_MIN

/* What a kind of instructions is, a bit each. */
enum {
  ATALLA_ROLE_LOAD = 1,      /* a transfer to a pad */
  ATALLA_ROLE_STORE = 2,     /* a transfer to DRAM */
  ATALLA_ROLE_PUSH = 4,      /* of weights into the array */
  ATALLA_ROLE_PRODUCT = 8,   /* of the array */
  ATALLA_ROLE_TRANSPOSE = 16,
  ATALLA_ROLE_CONTROL = 32,
  ATALLA_ROLE_HALT = 64
};

/* Schedules a block into packets, as `BlockScheduler.run`. `limits` say how many values each file may hold. `releases`
 * (or NULL) are the first cycles in which instructions may issue, `banks` (or NULL) the bank of each register, -1 for
 * none. `issue_cycles` and `order` (instructions packet by packet, in slots) have room for the block, as has
 * `sizes`, which gets the packets' sizes. Returns the number of packets, or -1 when one has no order of slots. */
ATALLA_API int32_t atalla_schedule_block(const atalla_blocks* blocks, int32_t block, const int32_t* limits,
                                         int32_t packet_cycles, const int32_t* releases, const int32_t* banks,
                                         int32_t* issue_cycles, int32_t* order, int32_t* sizes, int32_t* peaks);

/* Writes for each instruction of a block the cycles from its issue to the end of the longest chain that starts with
 * it, as `DependenceGraph.heights`. */
ATALLA_API void atalla_block_heights(const atalla_blocks* blocks, int32_t block, int32_t* heights);

/* For a block that repeats itself, and the cycles in which its instructions issue: writes for each instruction the first
 * cycle, after the start of one run, in which it may issue in the next, as `block_scheduling.carried_waits`. */
ATALLA_API void atalla_carried_waits(const atalla_blocks* blocks, int32_t block, const int32_t* issue_cycles,
                                     int32_t* waits);

/* Edges of a dependence graph across iterations; those of distance 0 form no circle. */
typedef struct atalla_edges {
  int32_t num_nodes;
  int32_t size;
  const int32_t* firsts;
  const int32_t* seconds;
  const int32_t* latencies;
  const int32_t* distances;
} atalla_edges;

/* The least II, at least 1, at which no chain of dependences catches up with itself. */
ATALLA_API int32_t atalla_recurrence(const atalla_edges* edges);

/* A loop body, as `loop_graph.LoopGraph` and `reservations.LoopDemands` have it. Nodes are the instructions and after
 * them barriers. Vector registers whose banks the schedule chooses are values 0, 1, ... */
typedef struct atalla_loop {
  int32_t num_insts;
  int32_t num_nodes;
  int32_t num_names;
  int32_t num_values;
  int32_t num_vector_banks;
  int32_t num_runs;
  int32_t is_ahead;
  int32_t longest_latency;
  int32_t pad_row_interval;
  int32_t sdma_startup_cycles;
  int32_t reductions_in_flight;
  int32_t max_queued_cycles;
  int32_t attempts_per_node;
  int32_t patience;
  int32_t sink_sweeps;
  int32_t company_distance;
  int32_t array_turn_cycles;
  int32_t max_open_masks;
  uint64_t branch_bits;
  uint64_t first_vector_bank; /* the bits of the others follow */
  int64_t branch_counts;
  int64_t empty_packet;
  int64_t over;
  double crowded;
  double max_channel_wait;
  double channel_slack;
  /* edges to and from each node without those to itself */
  const int32_t* before_starts;
  const int32_t* before_nodes;
  const int32_t* before_latencies;
  const int32_t* before_distances;
  const int32_t* before_results; /* whether the edge is a result, which may be late */
  const int32_t* after_starts;
  const int32_t* after_nodes;
  const int32_t* after_latencies;
  const int32_t* after_distances;
  const int32_t* after_results;
  /* of each instruction */
  const int32_t* names; /* of units */
  const int32_t* lengths;
  const int32_t* flights;
  const int32_t* is_vlsu;
  const int32_t* is_reduction;
  const int32_t* is_transfer;
  const int32_t* drained_names; /* the pad whose row reads a transfer to DRAM takes, -1 for all others */
  const int32_t* drained_rows;
  const uint64_t* bits;
  const int64_t* counts;
  const int32_t* open_starts;
  const int32_t* open_reads;
  const int32_t* may_sink;
  const int32_t* is_scalar;
  const int32_t* shorten_starts; /* what a scalar operation reads of copies: makers and distances */
  const int32_t* shorten_nodes;
  const int32_t* shorten_distances;
  /* of each name: the phase of its blocks, when it is crowded */
  const int32_t* phases;
  /* of each value: what it is read with */
  const int32_t* with_starts;
  const int32_t* read_with;
  const uint64_t* fixed_with;
  /* for bodies that move data only */
  const int32_t* kinds; /* of nodes */
  const int32_t* is_feeder;
  const int32_t* needed; /* when each node is first needed by what follows */
  const int32_t* num_readers;
  const int32_t* is_load;
  const int32_t* makes_mask;
  const int32_t* run_numbers; /* of the first push of a run, -1 for all others */
  const int32_t* run_starts;
  const int32_t* run_makers;
  const int32_t* transfer_lengths; /* in cycles, of each instruction that is one */
  const int32_t* is_waited;        /* whether a transfer is settled before all else */
  const int32_t* early_feeders;
  const int32_t* late_feeders;
  int32_t num_early_feeders;
  int32_t num_late_feeders;
} atalla_loop;

/* One attempt to place a loop node by node, as `loop_placement.Placement` and `compact_placement`. */
typedef struct atalla_ordered_way {
  const int32_t* order;    /* all nodes in the order of placement */
  const int32_t* is_late;  /* or NULL: nodes that are placed backwards from their readers */
  const int32_t* may_sink; /* in place of the loop's */
} atalla_ordered_way;

/* One attempt to place a loop node by node where what gives way is chosen, as `repair_placement.RepairPlacement`. */
typedef struct atalla_repair_way {
  int32_t attempts_per_node;
  int32_t margin;
  int32_t is_late;      /* whether what lies between others is placed as late as they allow */
  const int32_t* order; /* all nodes in the order of placement */
  const int32_t* lows;  /* of each node the first and the last cycle that it may take */
  const int32_t* highs;
} atalla_repair_way;

/* One attempt to place a loop cycle by cycle, as `forward_placement.ForwardPlacement`. */
typedef struct atalla_forward_way {
  int32_t is_eager;
  int32_t num_pads;
  int32_t num_parts;
  double share;                   /* of the interval over which loads are spread */
  const int32_t* transfer_starts; /* the transfers of each pad, in the order of their phases */
  const int32_t* transfers;
  const int32_t* part_starts; /* what is not a feeder, in parts that have nothing to do with each other */
  const int32_t* parts;
} atalla_forward_way;

/* Places all nodes at an initiation interval. Returns 1 and the cycles of the instructions and the bank of each value
 * (-1: none), or 0 when there is no place, or -1 - index when an instruction lost its place, which must not be. */
ATALLA_API int32_t atalla_place_in_order(const atalla_loop* loop, const atalla_ordered_way* way, int32_t interval,
                                         int32_t* cycles, int32_t* banks);
ATALLA_API int32_t atalla_place_by_repair(const atalla_loop* loop, const atalla_repair_way* way, int32_t interval,
                                          int32_t* cycles, int32_t* banks);
ATALLA_API int32_t atalla_place_forwards(const atalla_loop* loop, const atalla_forward_way* way, int32_t interval,
                                         int32_t* cycles, int32_t* banks);

/* What a kernel of a loop runs over and over, as `issue_waits` looks at it. */
typedef struct atalla_body {
  int32_t size;
  int32_t num_registers;
  int32_t num_units; /* reads and writes of each pad are two */
  int32_t num_banks; /* of vectors */
  int32_t vector_file;
  int32_t array_drain_cycles;
  int32_t passes; /* that are run, and the last ones of these that count */
  int32_t counted_passes;
  /* of each register */
  const int32_t* files;
  /* of each instruction */
  const int32_t* roles; /* ATALLA_ISSUE_... */
  const int32_t* units;
  const int32_t* intervals; /* of units */
  const int32_t* distances; /* to results */
  const int32_t* ranks;     /* in which results are written that come at once */
  const int32_t* use_starts;
  const int32_t* uses;
  const int32_t* def_starts;
  const int32_t* defs;
  const int32_t* read_starts; /* by ports */
  const int32_t* reads;
} atalla_body;

/* What an instruction is, a bit each. */
enum {
  ATALLA_ISSUE_TRANSFER = 1,
  ATALLA_ISSUE_ROW = 2, /* read or written of a pad */
  ATALLA_ISSUE_PUSH = 4,
  ATALLA_ISSUE_PRODUCT = 8
};

/* Cycles of the passes that count through the packets of a schedule, given the cycle of each instruction and the bank of
 * each register (-1: none), as `issue_waits.pass_waits`; -1 when a packet has no order of slots. Writes for each register
 * how long packets waited for it, and the one that was last written in its place (-1: none). */
ATALLA_API int32_t atalla_pass_waits(const atalla_body* body, const int32_t* cycles, int32_t interval,
                                     const int32_t* banks, int32_t* waits, int32_t* rivals);

/* A function in packets, and its registers. */
typedef struct atalla_code {
  int32_t num_registers;
  int32_t num_blocks;
  int32_t sweeps; /* of moves to cheaper banks */
  int32_t far_fewer; /* weight of conflicts by which the second way to split registers must be better */
  int32_t num_late;
  int32_t num_kept;
  int32_t num_banks[ATALLA_FILES];
  int32_t num_physical[ATALLA_FILES]; /* registers of each file */
  /* of each register */
  const int32_t* files;
  const int32_t* indices; /* unlike each other within a file, for virtual ones */
  const int32_t* pinned;  /* the number of a fixed one, else -1 */
  const int32_t* is_hard_wired;
  const int32_t* is_all_ones; /* readable from any bank */
  /* blocks of packets of instructions, which read registers by ports and write some */
  const int32_t* block_starts;
  const int32_t* packet_starts;
  const int32_t* read_starts;
  const int32_t* reads;
  const int32_t* def_starts;
  const int32_t* defs;
  const int32_t* merges;        /* whether an instruction reads what it writes */
  const int32_t* passes_pinned; /* whether an instruction hands all fixed results over */
  /* of each block */
  const int64_t* weights;
  const int32_t* successor_starts;
  const int32_t* successors;
  /* scalar results, those that keep them from their bank's write port, and how much that counts */
  const int32_t* late_writes;
  const int32_t* late_rivals;
  const int64_t* late_weights;
  /* registers that should stay in a bank, that bank, and how much that counts */
  const int32_t* kept;
  const int32_t* kept_banks;
  const int64_t* kept_weights;
} atalla_code;

/* Chooses a bank for each virtual register, as `banks.prefer_banks` for each file. Writes the registers in the order in
 * which they chose, and their banks; returns their number. */
ATALLA_API int32_t atalla_prefer_banks(const atalla_code* code, int32_t* registers, int32_t* banks);

typedef struct atalla_colouring {
  int32_t has_known;
  int32_t num_known;
  int32_t num_clobbers;
  int32_t displacements; /* for each register */
  const int32_t* known;  /* registers that start in a bank, in this order */
  const int32_t* known_banks;
  const int32_t* available_starts; /* the numbers of each file that may be given out */
  const int32_t* available;
  const int32_t* clobber_files; /* registers that are overwritten after a position */
  const int32_t* clobber_numbers;
  const int32_t* clobber_positions;
  const double* costs; /* or NULL: what spilling each register costs */
} atalla_colouring;

/* Gives numbers to virtual registers, as `colouring.Colouring` for each file; -1 for those that got none. `spilled` gets
 * those that must be spilled and `lengths` the number of positions at which each register is live, -1 for those that do
 * not occur. Returns how many are spilled, or -1 when something must be but there are no costs. */
ATALLA_API int32_t atalla_colour(const atalla_code* code, const atalla_colouring* wanted, int32_t* numbers,
                                 int32_t* spilled, int32_t* lengths);

/* Copies from one register to another that need not be where both can be one. */
typedef struct atalla_copies {
  int32_t size;
  int32_t num_clobbers;
  int32_t apart; /* a register that stays as it is, or -1 */
  const int32_t* destinations; /* of the copies, those that count most first */
  const int32_t* sources;
  const int32_t* is_constant;   /* of each register: nothing else may be put into it */
  const int32_t* clobber_files; /* registers that are overwritten after a position */
  const int32_t* clobber_numbers;
  const int32_t* clobber_positions;
} atalla_copies;

/* Writes for each register the one that stands for it, as `copy_merging.RegisterClasses`. */
ATALLA_API void atalla_merge_copies(const atalla_code* code, const atalla_copies* copies, int32_t* merged);

#ifdef __cplusplus
}
#endif

#endif
