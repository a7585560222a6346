/* transfer.pml -- one Stripe Connect transfer, two (possibly duplicate) owners, an unreliable world.
 *
 * What is modelled
 *   - one durable row {st, gen}; every write is one atomic guarded UPDATE (compare-and-set on st+gen);
 *     sage[g] = time since the row durably recorded "generation g may be sent" (first_sent_at).
 *   - the idempotency key is a pure function of (transfer id, gen), so key == gen here.
 *   - NW workers own the same transfer at once (duplicate activation / partition / failover);
 *     each may crash between any two atomic steps and restarts with only the row.
 *   - requests sit in the network: they outlive the worker (crash, client time-out), arrive late and in any
 *     order; answers get lost.
 *   - Stripe: stores the first executed outcome per key and replays it (2xx, 4xx AND 500) until the key is
 *     EXP old, then executes the same key afresh; 429/409-like answers are not stored; a 500 may have had no
 *     effect, an effect, or an effect that only appears later; lists lag behind.
 *   - webhooks: may come before the answer, late, twice or never.
 *   - time: one tick may pass whenever nothing that the assumptions bound is overdue:
 *       A1  a request reaches Stripe at most DELTA ticks after its sender's freshness check (pause + network)
 *       A2  a late effect of a 500 appears within DELTA, a list is at most LAG behind
 *       A3  clocks are at most SKEW off
 *       A4  (liveness only) after SLOW exceptions a live owner manages to try a generation while it is fresh
 *     -DZOMBIE drops A1.
 *
 * Words: the states here are settled's, seen from the money. NEW is held or pending of which nothing was sent;
 * SENDING is sending and unresolved, and also failed, or pending or held once something was sent: between two
 * generations; PARKED is parked; PAID is completed and what follows it; FAILED is canceled and permanently_failed.
 * Each write of the row carries its moves, as "move FROM->TO": the tests of package ledger read them here, hold them
 * to the guards beside them, and compare them with the real table of moves and with random walks through it. What is
 * no move of the protocol says "outside" (the world's doing, or a naive variant's).
 *
 * Properties
 *   S1 paid <= 1                      no double payment
 *   S2 st==PAID   ==> paid==1         ledger never claims money that did not move
 *   S3 st==FAILED ==> paid==0 for ever   no false 'failed'
 *   S4 generations never run out (nobody spins through keys)
 *   L1 <> (PAID or FAILED)            nothing is lost (weak fairness, finite faults)      ltl live
 *
 * Protocol variants (default = the recommended one)
 *   -DNAIVE_NEWKEY   new key after a time-out or 500        -DNAIVE_MEMKEY  key made in memory per activation
 *   -DNAIVE_FOREVER  same key re-sent with no age limit     -DNAIVE_LIST    list says none -> new key at once
 *   -DNAIVE_429      429/409 taken as definite failure      -DNAIVE_500FAIL time-out/500 booked as failed
 *   -DNAIVE_BLIND    UPDATE without the guard               -DNAIVE_LEASE   lease + a key per owner
 *   -DLATEFREE       recommended, but drops A2: a 500 may take effect at any later time
 *   -DPARK           (with or without LATEFREE) nothing but a stored 4xx earns a new key; the rest waits for a person
 *   -DCOUNT          fast 'no': a durable count of sends without a definite answer; an answer that is not stored
 *                    (429/409/401/invalid parameters) may end or renew the generation only when the count is 0
 *   -DFORGED         unauthenticated webhook believed       -DZOMBIE        recommended, but unbounded pauses
 *   -DDBROLLBACK     the database loses its newest commit once (async failover, restore)
 *   -DVERIFY_OLD     + an old NEW row is looked up at Stripe before its first send (not enough)
 *   -DQUARANTINE     + after a possible loss every open row rests for QUIET, is looked up at Stripe, and goes on
 *                      with a key of a new epoch
 *
 *   -DQUIET=5        one tick less than the assumptions demand (default: what they demand)
 *
 * Run:  .ci/model runs every variant and compares the results with what is expected of each. By hand:
 *       spin [-Dvariant] -a transfer.pml && gcc -O2 -DSAFETY -DNOCLAIM -DCOLLAPSE -o pan pan.c && ./pan -m1000000 -n
 *       shortest counterexample: add -DBFS to gcc, then  spin [-Dvariant] -t transfer.pml
 *       liveness: spin -DFAULTS=1 -DCRASHES=1 -DNOHOOK -a ..., gcc -O2 -DNFAIR=3 -DCOLLAPSE ..., ./pan -a -f -m1000000 -n
 */
#ifndef NW
#define NW 2
#endif
#ifndef FAULTS
#define FAULTS 2
#endif
#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef BADS
#define BADS 1
#endif
#ifndef SLOW
#define SLOW 1
#endif
#ifdef QUARANTINE
#define MAXGEN (FAULTS+BADS+SLOW+2)
#else
#define MAXGEN (FAULTS+BADS+SLOW+1)   /* every bump must have used up one misfortune (S4) */
#endif
#define SAFE   1           /* ticks a key may be (re)sent after first_sent_at */
#define SKEW   1
#define DELTA  1
#define LAG    1
#define EXP    4           /* > SAFE+SKEW+DELTA */
#ifndef QUIET
#define QUIET  (SAFE + SKEW + DELTA + DELTA + LAG + 1)   /* true age from which nothing of this generation can still happen;
                                                        a node compares its own clock with QUIET + SKEW */
#endif
#define SATS   QUIET

mtype = { NEW, SENDING, PAID, FAILED, PARKED };
mtype = { FREE, OK, BAD, E500, E429, TMO };

mtype st = NEW;  byte gen = 0;                 /* the row */
byte sage[MAXGEN+1];                           /* age of first_sent_at, per generation */
mtype kres[MAXGEN+1]; byte kage[MAXGEN+1];     /* Stripe's idempotency store */
byte paid = 0; bool late = false; byte lateage = 0; bool visible = false; byte visage = 0;
byte mg[NW*2]; byte ma[NW*2];                  /* in flight: generation (0 = none), age; slot 2w current, 2w+1 orphan */
mtype rs[NW];                                  /* answer waiting for worker w (FREE = none) */
byte faults = FAULTS, crashes = CRASHES, bads = BADS, slow = SLOW;
byte cage = 0;                                 /* age of the row itself */
#ifdef DBROLLBACK
bool rbk = true; bool fresh = false; mtype pst = NEW; byte pgen = 0; byte maxg = 0;
bool q = false; byte qage = 0;                 /* quarantine after a lost commit was possible */
#ifdef COUNT
byte outst = 0, pouts = 0;
#define SAVECOUNT pouts = outst
#define LOADCOUNT outst = pouts
#else
#define SAVECOUNT skip
#define LOADCOUNT skip
#endif
#define REMEMBER pst = st; pgen = gen; SAVECOUNT; fresh = true; if :: gen > maxg -> maxg = gen :: else fi
#else
#define REMEMBER skip
#endif
#ifdef NAIVE_MEMKEY
byte nextkey = 1;
#endif
#ifdef NAIVE_LEASE
byte owner = 0; byte lease = 0; byte nextkey = 1;
#endif

inline pay() {
  paid++; printf("Stripe: MONEY MOVED (%d)\n", paid); assert(paid <= 1);                   /* S1 */
  assert(st != FAILED);                        /* S3 (money moved after we said failed) */
  visage = 0
}
#ifdef QUARANTINE
#define NOQ (!q)
#else
#define NOQ true
#endif
#ifdef VERIFY_OLD
#define LOOKFIRST (cage >= QUIET)
#define LEAP      (cage <= SAFE || st != NEW)
#else
#define LOOKFIRST false
#define LEAP      true
#endif
#ifdef COUNT
#ifndef DBROLLBACK
byte outst = 0;
#endif
                                               /* outst, durable: sends of the current generation without a definite answer */
#define SENDOK(w) (GUARD(wg[w]))
#define COUNTUP   REMEMBER; if :: outst < 3 -> outst++ :: else fi        /* saturates, and a saturated count stays */
#define COUNTDOWN if :: GUARD(wg[w]) && outst > 0 && outst < 3 -> outst-- :: else fi
#define RESETCOUNT outst = 0
#else
#define SENDOK(w) true
#define COUNTUP   skip
#define COUNTDOWN skip
#define RESETCOUNT skip
#endif
#if defined(COUNT)
#define ON429 COUNTDOWN; if :: true -> skip :: outst == 0 && GUARD(wg[w]) && wg[w] < MAXGEN -> bump(wg[w]) :: outst == 0 && GUARD(wg[w]) -> set_failed(wg[w]) fi
#elif defined(NAIVE_429)
#define ON429 bump(wg[w])
#else
#define ON429 skip                             /* not stored, proves nothing: same key again */
#endif
#if defined(NAIVE_NEWKEY)
#define ON500 bump(wg[w])
#elif defined(NAIVE_LIST)
#define ON500 if :: visible -> set_paid() :: !visible -> bump(wg[w]) fi
#elif defined(NAIVE_500FAIL)
#define ON500 set_failed(wg[w])
#else
#define ON500 skip                             /* ambiguous: same key again while fresh, then wait, then verify */
#endif

/* guarded writes: UPDATE ... WHERE id = $1 AND st = 'SENDING' AND gen = x */
#ifdef NAIVE_BLIND
#define GUARD(x) (true)
#elif defined(QUARANTINE)
#define GUARD(x) (st == SENDING && gen == (x) && !q)
#else
#define GUARD(x) (st == SENDING && gen == (x))
#endif
inline set_paid()    { if :: st == FAILED -> assert(false) /* S3 */ :: st != PAID && st != FAILED -> REMEMBER; st = PAID; /* move NEW->PAID SENDING->PAID PARKED->PAID */ printf("row: PAID\n"); assert(paid == 1) /* S2 */ :: st == PAID fi }
inline set_failed(x) { if :: GUARD(x) -> REMEMBER; st = FAILED; /* move SENDING->FAILED */ printf("row: FAILED\n"); assert(paid == 0 && !late) /* S3 */ :: else fi }
inline bump(x)       { if :: GUARD(x) -> assert((x) < MAXGEN) /* S4 */; REMEMBER; st = SENDING; gen = (x)+1; /* move SENDING->SENDING+1 */ sage[gen] = 0; RESETCOUNT; printf("row: SENDING gen %d (new key)\n", gen) :: else fi }

#ifdef PARK
#define UNRESOLVED(x) if :: GUARD(x) -> REMEMBER; st = PARKED; /* move SENDING->PARKED */ printf("row: PARKED for a person, webhook and list may still settle it\n") :: else fi
#else
#define UNRESOLVED(x) bump(x)
#endif
#define OPEN  (st != PAID && st != FAILED && st != PARKED)
#ifdef NAIVE_FOREVER
#define FRESH(x) true
#define DEAD(x)  false
#else
#define FRESH(x) (sage[x] <= SAFE + SKEW)      /* checked before every send; a slow clock lets it pass SKEW late */
#define DEAD(x)  (sage[x] >= QUIET)            /* nothing of generation x can still happen: a list is proof */
#endif
#define IDLE(w)  (mg[2*w] == 0 && mg[2*w+1] == 0)
#define AGAIN    pc = READ; r = FREE; wg[w] = 0

mtype = { READ, INTENT, SEND, WAIT, BOOK };
byte wg[NW];                                   /* generation that worker w holds in memory */

/* every branch is one atomic step; anything may happen between two of them */
proctype Worker(byte w) {
  mtype pc = READ, r = FREE;
#if defined(NAIVE_MEMKEY) || defined(NAIVE_LEASE)
  byte k = 0;
#define KEY k
#else
#define KEY wg[w]
#endif
  do
  :: atomic { pc == READ && !OPEN -> AGAIN; break }
#ifdef NAIVE_LEASE
  :: atomic { pc == READ && OPEN && (owner == w+1 || owner == 0 || lease >= 1) ->
       if :: owner != w+1 -> owner = w+1; k = nextkey; if :: nextkey < MAXGEN -> nextkey++ :: else fi :: else fi; lease = 0;
#else
  :: atomic { pc == READ && OPEN && NOQ ->                                          /* SELECT */
#ifdef NAIVE_MEMKEY
       if :: k == 0 -> k = nextkey; if :: nextkey < MAXGEN -> nextkey++ :: else fi :: else fi;
#endif
#endif
       wg[w] = gen; if :: st == NEW -> pc = INTENT :: else -> pc = SEND fi }

  :: atomic { pc == INTENT && LOOKFIRST ->                                          /* look before the first leap */
       if :: visible -> set_paid() :: !visible -> if :: st == NEW && NOQ -> REMEMBER; st = SENDING; gen = 1; /* move NEW->SENDING+1 */ sage[1] = 0; printf("row: SENDING gen 1\n") :: else fi fi; AGAIN }
#ifdef QUARANTINE
  :: atomic { pc == READ && OPEN && q && qage >= QUIET ->                           /* leave quarantine: list, then a key that was never used */
       if :: visible -> set_paid() :: !visible -> q = false;
#ifdef PARK
          st = PARKED /* move NEW->PARKED SENDING->PARKED */
#else
          st = SENDING; gen = maxg+1; /* move NEW->SENDING+1 SENDING->SENDING+1 */ assert(gen <= MAXGEN); sage[gen] = 0; RESETCOUNT; maxg = gen; printf("row: quarantine over, SENDING gen %d\n", gen)
#endif
       fi; AGAIN }
#endif
  :: atomic { pc == INTENT && LEAP ->                                               /* intent is durable BEFORE the call */
       if :: st == NEW && NOQ -> REMEMBER; st = SENDING; gen = 1; /* move NEW->SENDING+1 */ sage[1] = 0; printf("row: SENDING gen 1\n") :: else fi; AGAIN }

  :: atomic { pc == SEND && FRESH(wg[w]) && IDLE(w) && SENDOK(w) -> COUNTUP; mg[2*w] = KEY; ma[2*w] = 0; rs[w] = FREE; pc = WAIT; printf("worker %d: POST /transfers, key %d\n", w, mg[2*w]) }
  :: atomic { pc == SEND && DEAD(wg[w]) -> if :: visible -> set_paid() :: !visible -> UNRESOLVED(wg[w]) fi; AGAIN }   /* verify by list, then a new generation (or a person) */
  :: atomic { pc == SEND && (!OPEN || gen != wg[w]) -> AGAIN }                      /* woken: webhook or the other owner moved on */

  :: atomic { pc == WAIT && rs[w] != FREE -> r = rs[w]; rs[w] = FREE; pc = BOOK; printf("worker %d: gets %e\n", w, r) }
  :: atomic { pc == WAIT && mg[2*w] > 0 && faults > 0 -> faults--; mg[2*w+1] = mg[2*w]; ma[2*w+1] = ma[2*w]; mg[2*w] = 0; ma[2*w] = 0; r = TMO; pc = BOOK; printf("worker %d: client time-out, request still under way\n", w) }  /* time-out, request lives on */
  :: atomic { pc == WAIT && mg[2*w] > 0 && faults > 0 -> faults--; mg[2*w] = 0; ma[2*w] = 0; r = TMO; pc = BOOK; printf("worker %d: request lost\n", w) }                             /* request lost */

  :: atomic { pc == BOOK && r == OK  -> set_paid(); AGAIN }
  :: atomic { pc == BOOK && r == BAD -> if :: true -> set_failed(wg[w]) :: true -> bump(wg[w]) fi; AGAIN }   /* stored 4xx: the key is bound to 'no' */
  :: atomic { pc == BOOK && r == E429 -> ON429; AGAIN }
  :: atomic { pc == BOOK && (r == E500 || r == TMO) -> ON500; AGAIN }

  :: atomic { pc != READ && crashes > 0 -> crashes--; printf("worker %d: KILLED\n", w);                               /* kill -9: the row and the network remain */
       if :: mg[2*w] > 0 -> mg[2*w+1] = mg[2*w]; ma[2*w+1] = ma[2*w]; mg[2*w] = 0; ma[2*w] = 0 :: else fi;
       rs[w] = FREE;
#if defined(NAIVE_MEMKEY) || defined(NAIVE_LEASE)
       k = 0;
#endif
       AGAIN }
  od
}

#define OLD(i) (mg[i] > 0 && ma[i] >= DELTA)
#if NW == 1
#define OVERDUE (OLD(0) || OLD(1))
#elif NW == 2
#define OVERDUE (OLD(0) || OLD(1) || OLD(2) || OLD(3))
#else
#define OVERDUE (OLD(0) || OLD(1) || OLD(2) || OLD(3) || OLD(4) || OLD(5))
#endif
#ifdef LATEFREE
#define LATEDUE (paid > 0 && !visible && visage >= LAG)                /* the effect of a 500 may come at any later time */
#else
#define LATEDUE ((late && lateage >= DELTA) || (paid > 0 && !visible && visage >= LAG))
#endif
#ifdef ZOMBIE
#define MAYTICK (!LATEDUE)                     /* a request may hang (paused process, black hole) for ever */
#else
#define MAYTICK (!OVERDUE && !LATEDUE)
#endif
#define NEXT(i) (mg[i] > 0 && (OLD(i) || !OVERDUE) && !LATEDUE)

active proctype Stripe() {
  byte i, g; mtype r;
  do
  :: atomic {
       if :: NEXT(0) -> i = 0 :: NEXT(1) -> i = 1
#if NW > 1
          :: NEXT(2) -> i = 2 :: NEXT(3) -> i = 3
#endif
#if NW > 2
          :: NEXT(4) -> i = 4 :: NEXT(5) -> i = 5
#endif
       fi;
       g = mg[i]; mg[i] = 0; ma[i] = 0;
       if
       :: kres[g] != FREE && kage[g] < EXP -> r = kres[g]; printf("Stripe: key %d replayed\n", g)   /* replay */
       :: else ->                                                          /* unseen or pruned key: execute */
          if
          :: r = OK; pay()
          :: bads > 0 -> bads--; r = BAD; printf("Stripe: key %d refused (stored 4xx)\n", g)
          :: faults > 0 -> faults--; r = E500; printf("Stripe: key %d 500, no effect\n", g)
          :: faults > 0 -> faults--; r = E500; printf("Stripe: key %d 500, with effect\n", g); pay()
          :: faults > 0 && !late -> faults--; r = E500; late = true; lateage = 0; printf("Stripe: key %d 500, effect to come\n", g)
          :: faults > 0 -> faults--; r = E429; printf("Stripe: key %d 429/409 (not stored)\n", g)
          fi;
          if :: r != E429 -> kres[g] = r; kage[g] = 0 :: else fi
       fi;
       if
       :: i % 2 == 0 -> if :: rs[i/2] = r :: faults > 0 -> faults--; rs[i/2] = TMO; printf("answer lost\n") fi   /* answer, or answer lost */
       :: else                                                                          /* nobody listens any more */
       fi;
       i = 0; g = 0; r = FREE }
  :: atomic { late -> late = false; lateage = 0; pay() }
  :: atomic { paid > 0 && !visible -> visible = true; visage = 0 }
  od
}

#ifndef NOHOOK
active proctype Webhook() {                     /* transfer.created: any time after the fact, before the answer, again and again */
  do
  :: atomic { paid > 0 && st != PAID -> set_paid() }
#ifdef FORGED
  :: atomic { st == SENDING -> st = PAID; /* outside */ printf("forged webhook believed\n"); assert(paid == 1) }
#endif
  od
}
#endif

#if NW == 1
#define HELD(j) (wg[0] == j || mg[0] == j || mg[1] == j)
#elif NW == 2
#define HELD(j) (wg[0] == j || mg[0] == j || mg[1] == j || wg[1] == j || mg[2] == j || mg[3] == j)
#else
#define HELD(j) (wg[0] == j || mg[0] == j || mg[1] == j || wg[1] == j || mg[2] == j || mg[3] == j || wg[2] == j || mg[4] == j || mg[5] == j)
#endif
#ifdef DBROLLBACK
#define COMEBACK(j) (rbk && j == pgen || j > gen && kres[j] != FREE)
#else
#define COMEBACK(j) false
#endif
#define UNTRIED (NOQ && st == SENDING && sage[gen] == SAFE && kres[gen] == FREE)
active proctype Tick() {
  byte j;
  do
  :: d_step {
       MAYTICK && (!UNTRIED || slow > 0) ->
       printf("-- tick\n"); if :: UNTRIED -> slow-- :: else fi;
       for (j : 1 .. MAXGEN) {
         if :: sage[j] < SATS -> sage[j]++ :: else fi;
         if :: kres[j] != FREE && kage[j] < EXP -> kage[j]++ :: else fi
       }
       for (j : 0 .. NW*2-1) { if :: mg[j] > 0 && ma[j] < DELTA -> ma[j]++ :: else fi }
#if !defined(NAIVE_MEMKEY) && !defined(NAIVE_LEASE)
       for (j : 1 .. MAXGEN) {                  /* forget generations that nobody can send any more (smaller state space only) */
         if :: j != gen && !HELD(j) && !COMEBACK(j) -> sage[j] = SATS; kres[j] = FREE; kage[j] = 0 :: else fi }
#endif
       if :: late && lateage < DELTA -> lateage++ :: else fi;
       if :: paid > 0 && !visible -> visage++ :: else fi;
       if :: cage < SATS -> cage++ :: else fi;
#ifdef NAIVE_LEASE
       if :: lease < 2 -> lease++ :: else fi;
#endif
#ifdef DBROLLBACK
       fresh = false; if :: q && qage < QUIET -> qage++ :: else fi;
#endif
       j = 0 }
#ifdef DBROLLBACK
  :: atomic { rbk && fresh -> rbk = false; fresh = false; if :: gen > maxg -> maxg = gen :: else fi; st = pst; gen = pgen; /* outside */ LOADCOUNT; q = true; qage = 0; printf("DATABASE LOSES ITS NEWEST COMMIT\n") }
#endif
  od
}

init {
  byte j;
  d_step { for (j : 0 .. MAXGEN) { kres[j] = FREE; sage[j] = 0 } for (j : 0 .. NW-1) { rs[j] = FREE } j = 0 }
  atomic { for (j : 0 .. NW-1) { run Worker(j) } }
}

ltl live { <> (st == PAID || st == FAILED || st == PARKED) }
