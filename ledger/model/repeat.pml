/* repeat.pml -- one order, whose row the database loses once, with its payment or its call under way, and which the
 * platform then sends again. transfer.pml has the rest of the protocol; here it is one owner, and nothing is late
 * but what is on the wire.
 *
 * Keys are numbers: 1 and 2 are the generations of the order's name in the first epoch; 3 and 4 are what a repetition
 * uses when its keys are of another name, or of another epoch.
 *
 *   (default)       the repetition retraces the same keys, and is looked up before each generation, at most SAFE ago
 *   -DRANDOM        its name is that of a new row: other keys, and nothing at Stripe names it
 *   -DRAISE         the epoch is raised: other keys, and nobody looks
 *   -DRAISE_LOOK    the epoch is raised, and Stripe is looked at, but what is under way meets no key of its own
 *   -DRETRACE_ONLY  the same keys, and nobody looks: they are forgotten
 *   -DSTALE_LOOK    the same keys, looked up at any time before: they are forgotten meanwhile
 *   -DREPLAY_CLOSES a replayed refusal closes a generation of the repetition although another send of it is open: the
 *                   key is older than the row knows, and is forgotten while that send is under way
 *   -DLATER         (with the default) what is under way when the row is lost may be of a generation above the first:
 *                   the repetition begins with the first, and meets nothing. What the protocol leaves open.
 *   -DWAIT          (with LATER) the repetition waits until nothing that was lost can be under way
 *
 * Property: paid <= 1.
 */
#define SAFE  1
#define DELTA 1            /* on the wire, at most */
#define LAG   1            /* of a list, at most */
#define QUIET (SAFE + DELTA + LAG + 1)
#define EXP   (QUIET + 2*SAFE + 1)

mtype = { NONE, NEW, SENDING, PAID };
mtype = { OK, BAD };
#define FREE 0

mtype row = NONE; byte gen = 0; byte base = 0; byte sage = 0;
bool again = false, lost = false; byte lage = 0;  /* since the loss */
bool looked = false; bool unheard = false;  /* a send of the generation has no answer, and never gets one */
 byte cage = EXP;                              /* since the last look that found nothing */
mtype kres[5]; byte kage[5];
byte fl[3]; byte fa[3];                           /* on the wire: 0 the owner's, the others' senders are gone */
mtype ans = FREE;
byte paid = 0; bool visible = false; byte vage = 0;
byte faults = 1, bads = 1;

#if defined(RANDOM) || defined(RAISE) || defined(RETRACE_ONLY)
#define CLEAR true
#elif defined(STALE_LOOK)
#define CLEAR (!again || looked)
#else
#define CLEAR (!again || cage <= SAFE)
#endif
#ifdef REPLAY_CLOSES
#define CLOSES true
#else
#define CLOSES (!again || !unheard)
#endif
#ifdef WAIT
#define RESTED (!again || lage >= QUIET)
#else
#define RESTED true
#endif
#ifdef LATER
#define MOST 2
#else
#define MOST (again -> 2 : 1)
#endif
#ifdef RANDOM
#define FOUND (visible && !again)
#else
#define FOUND visible
#endif

inline orphan() { if :: fl[0] > 0 && fl[1] == 0 -> fl[1] = fl[0]; fa[1] = fa[0] :: fl[0] > 0 && fl[1] > 0 -> fl[2] = fl[0]; fa[2] = fa[0] :: else fi; fl[0] = 0; fa[0] = 0 }

active proctype Owner() {
  do
  :: atomic { row == NEW && !CLEAR && RESTED && cage > SAFE -> if :: FOUND -> row = PAID :: !FOUND -> cage = 0; looked = true fi }
  :: atomic { row == NEW && CLEAR && RESTED && gen < MOST -> gen++; row = SENDING; sage = 0; unheard = false; printf("row: SENDING key %d\n", base + gen) }
  :: atomic { row == SENDING && sage <= SAFE && fl[0] == 0 && ans == FREE -> fl[0] = base + gen; fa[0] = 0; printf("POST key %d\n", base + gen) }
  :: atomic { row == SENDING && ans == OK -> ans = FREE; row = PAID }
  :: atomic { row == SENDING && ans == BAD -> ans = FREE; if :: CLOSES -> row = NEW; printf("row: refused\n") :: else fi }
  :: atomic { row == SENDING && faults > 0 && fl[0] > 0 && fl[2] == 0 -> faults--; orphan(); unheard = true; printf("time-out, the request is still under way\n") }
  :: atomic { row == SENDING && sage >= QUIET && fl[0] == 0 -> if :: FOUND -> row = PAID :: !FOUND -> row = NEW; cage = 0 fi }
  od
}

active proctype Stripe() {
  byte i, k; mtype r;
  do
  :: atomic {
       if :: fl[0] > 0 -> i = 0 :: fl[1] > 0 -> i = 1 :: fl[2] > 0 -> i = 2 fi;
       k = fl[i]; fl[i] = 0; fa[i] = 0;
       if
       :: kres[k] != FREE -> r = kres[k]; printf("Stripe: key %d replayed\n", k)
       :: kres[k] == FREE -> r = OK; paid++; vage = 0; kres[k] = OK; kage[k] = 0; printf("Stripe: MONEY MOVED (%d), key %d\n", paid, k); assert(paid <= 1)
       :: kres[k] == FREE && bads > 0 -> bads--; r = BAD; kres[k] = BAD; kage[k] = 0; printf("Stripe: key %d refused\n", k)
       fi;
       if :: i == 0 -> ans = r :: else fi; i = 0; k = 0; r = FREE }
  :: atomic { paid > 0 && !visible -> visible = true }
  od
}

active proctype World() {
  byte j;
  do
  :: atomic { row == NONE && !lost -> row = NEW; printf("ordered\n") }
  :: atomic { row != NONE && !lost && fl[2] == 0 -> lost = true; lage = 0; orphan(); ans = FREE; row = NONE; gen = 0; cage = EXP; printf("THE DATABASE LOSES THE ROW\n") }
  :: atomic { row == NONE && lost && !again -> again = true; row = NEW;
#if defined(RANDOM) || defined(RAISE) || defined(RAISE_LOOK)
       base = 2;
#endif
       printf("ordered again\n") }
  :: d_step {
       !(fl[0] > 0 && fa[0] >= DELTA) && !(fl[1] > 0 && fa[1] >= DELTA) && !(fl[2] > 0 && fa[2] >= DELTA) && !(paid > 0 && !visible && vage >= LAG) ->
       printf("-- tick\n");
       for (j : 1 .. 4) { if :: kres[j] != FREE -> kage[j]++; if :: kage[j] >= EXP -> kres[j] = FREE; kage[j] = 0 :: else fi :: else fi }
       for (j : 0 .. 2) { if :: fl[j] > 0 -> fa[j]++ :: else fi }
       if :: sage < QUIET -> sage++ :: else fi;
       if :: lost && lage < QUIET -> lage++ :: else fi;
       if :: cage < EXP -> cage++ :: else fi;
       if :: paid > 0 && !visible -> vage++ :: else fi;
       j = 0 }
  od
}
