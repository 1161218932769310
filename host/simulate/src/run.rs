//! One world, from its first event to its last.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use selvedge_budget::holder::Holder;
use selvedge_budget::ledger::memory::Memory;
use selvedge_budget::ledger::{self, Claims, DailyV1, LedgerError, LedgerTx as _, Refusal, TermsV1};
use selvedge_budget::price::{Arm, Controller, EffectivePrice, Pace, Published, best_arm, effective_price};
use selvedge_budget::{Amounts, GrantRequest, Lease, LeaseReport, Minor, Reported};

use crate::books::{Books, Offer, OfferState};
use crate::demand::Demand;
use crate::network::{Agenda, deliveries};
use crate::outcome::Outcome;
use crate::world::{BEGIN_MS, BUDGETS, HIGHEST_PRICE_MICROS, LARGEST_FACE, World};

/// The host looks at what is due so many times in a campaign, and publishes prices so many times.
const LOOKS: i64 = 2000;
const PRICES: i64 = 200;
/// Times that a shop tries to redeem an offer, and how long it waits.
const TRIES: u8 = 6;
const TRY_AGAIN_MS: i64 = 2000;
/// How long a user waits for an edge that has to ask for money first.
const PATIENCE_MS: i64 = 3000;
/// Writes that an edge forgets when it is made to.
const FORGOTTEN_WRITES: u32 = 32;
/// Events between two looks at the ledger's own numbers.
const AUDIT_EVERY: u64 = 16_384;

/// What happens.
#[derive(Debug)]
enum Event {
    /// A user comes.
    Request,
    /// An edge does its round.
    Round(usize),
    /// A message reaches the host.
    Ask(usize, GrantRequest),
    Tell(usize, LeaseReport),
    /// An answer reaches an edge.
    Answered(usize, u128, Result<Lease, Refusal>),
    Confirmed(usize, u128, u64, Result<Reported, Refusal>),
    /// A shop redeems an offer, with an order that may not be the first, for the nth time.
    Redeem {
        offer: usize,
        order: u64,
        tries: u8,
    },
    /// An order is cancelled.
    Refund {
        offer: usize,
        order: u64,
    },
    /// The host looks at what is due.
    Look,
    /// The host publishes prices.
    Price,
    /// An edge vanishes.
    Vanish(usize),
    /// What it held has come back.
    Return(Amounts),
    /// The host's clock jumps.
    Jump(i64),
    /// The operator starts a new epoch, or changes the totals.
    NewEpoch,
    ChangeTotals,
}

struct Edge {
    holder: Holder,
    written: Vec<u8>,
    /// What was written long before, for an edge that is made to forget.
    old: Vec<u8>,
    writes: u32,
    clock_ms: i64,
    price: Option<Published>,
    /// Users for whom there was no money, until the host answers.
    waiting: Vec<Wish>,
    /// When the next round is planned; an earlier one makes it void.
    round_ms: Option<i64>,
    gone: bool,
}

/// An offer that an edge wants to make.
#[derive(Clone, Debug)]
struct Wish {
    offer: Offer,
    /// After how long it is redeemed, if it is.
    fate: Option<i64>,
}

impl Edge {
    fn write(&mut self) {
        if self.writes.is_multiple_of(FORGOTTEN_WRITES) {
            self.old = std::mem::replace(&mut self.written, self.holder.encode());
        } else {
            self.written = self.holder.encode();
        }
        self.writes += 1;
    }
}

/// Lets a world happen.
#[must_use]
pub fn run(world: &World) -> Outcome {
    Run::new(world).run()
}

struct Run<'a> {
    world: &'a World,
    rng: ChaCha8Rng,
    agenda: Agenda<Event>,
    now_ms: i64,
    /// How far the host's clock is from the right one.
    jump_ms: i64,
    edges: Vec<Edge>,
    /// Traffic up to and with each edge, as parts of all.
    traffic: Vec<f64>,
    ledger: Memory,
    books: Books,
    demand: Demand,
    price: Controller,
    requests_left: u64,
    /// Since the last price: requests, and what their offers are expected to cost.
    batch: (u64, f64),
    outcome: Outcome,
}

impl<'a> Run<'a> {
    fn new(world: &'a World) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(world.seed ^ 0x5e1f_ed6e);
        let price = Controller::cold(
            Pace {
                requests: u64::from(world.requests),
                gain: 1.0,
                highest: HIGHEST_PRICE_MICROS as f64 / 1e6,
                band: 0.02,
            },
            world.totals[0].0 as f64,
        );
        let day_limit = world.daily.map(|part| ((world.totals[0].0 as f64 * part) as u64).max(1));
        let edges = (0..world.edges).map(|at| edge(world, at, &mut rng)).collect();
        let mut run = Self {
            world,
            agenda: Agenda::new(),
            now_ms: BEGIN_MS,
            jump_ms: 0,
            edges,
            traffic: traffic(world),
            ledger: Memory::default(),
            books: Books::new(&world.totals, day_limit),
            demand: Demand::default(),
            price,
            requests_left: u64::from(world.requests),
            batch: (0, 0.0),
            outcome: Outcome { seed: world.seed, ..Outcome::default() },
            rng,
        };
        run.open(day_limit);
        run.plan();
        run
    }

    fn open(&mut self, day_limit: Option<u64>) {
        for (at, total) in self.world.totals.iter().enumerate() {
            let daily = day_limit.filter(|_| at == 0);
            let daily = daily.map(|limit| DailyV1 { limit: Minor(limit), utc_offset_min: 0 });
            let terms = TermsV1 { total: *total, daily };
            let opened = self.ledger.transaction(|tx| ledger::open_budget(tx, BEGIN_MS, BUDGETS[at], terms));
            self.outcome.disagreements += u64::from(opened.is_err());
        }
    }

    fn plan(&mut self) {
        let World { campaign_ms, faults, .. } = *self.world;
        self.agenda.plan(BEGIN_MS, Event::Request);
        self.agenda.plan(BEGIN_MS, Event::Look);
        self.agenda.plan(BEGIN_MS, Event::Price);
        for edge in 0..self.edges.len() {
            if self.rng.random_bool(faults.lost_edges) {
                let at_ms = BEGIN_MS + self.rng.random_range(0..campaign_ms);
                self.agenda.plan(at_ms, Event::Vanish(edge));
            }
        }
        if faults.jump_ms != 0 {
            let at_ms = BEGIN_MS + self.rng.random_range(0..campaign_ms / 2);
            let right_ms = at_ms + self.rng.random_range(0..campaign_ms / 4);
            self.agenda.plan(at_ms, Event::Jump(faults.jump_ms));
            self.agenda.plan(right_ms, Event::Jump(0));
            if faults.new_epoch {
                self.agenda.plan(right_ms, Event::NewEpoch);
            }
        }
        if faults.change_of_totals != 1.0 {
            self.agenda.plan(BEGIN_MS + campaign_ms / 2, Event::ChangeTotals);
        }
    }

    fn run(mut self) -> Outcome {
        while let Some((at_ms, event)) = self.agenda.next() {
            self.now_ms = at_ms;
            self.outcome.counts.events += 1;
            self.happen(event);
            if self.outcome.counts.events.is_multiple_of(AUDIT_EVERY) {
                self.audit();
            }
        }
        self.audit();
        self.finish()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Request => self.request(),
            Event::Round(edge) => self.round(edge),
            Event::Ask(edge, request) => self.ask(edge, &request),
            Event::Tell(edge, report) => self.tell(edge, &report),
            Event::Answered(edge, id, answer) => self.answered(edge, id, answer),
            Event::Confirmed(edge, lease, sequence, answer) => {
                self.edges[edge].holder.reported(lease, sequence, &answer);
            }
            Event::Redeem { offer, order, tries } => self.redeem(offer, order, tries),
            Event::Refund { offer, order } => self.refund(offer, order),
            Event::Look => self.look(),
            Event::Price => self.publish(),
            Event::Vanish(edge) => self.vanish(edge),
            Event::Return(amounts) => self.books.lock(&amounts, true),
            Event::Jump(jump_ms) => self.jump_ms = jump_ms,
            Event::NewEpoch => self.new_epoch(),
            Event::ChangeTotals => self.change_totals(),
        }
    }

    fn end_ms(&self) -> i64 {
        BEGIN_MS + self.world.campaign_ms
    }

    fn host_ms(&self) -> i64 {
        self.now_ms + self.jump_ms
    }

    /// A transaction of the host, which may die before it commits; `None` then.
    fn transact<T>(
        &mut self,
        work: impl FnOnce(&mut Memory) -> Result<T, LedgerError<std::convert::Infallible>>,
    ) -> Option<Result<T, Refusal>> {
        let dies = self.rng.random_bool(self.world.faults.host_crashes);
        let mut refusal = None;
        let done = self.ledger.transaction(|tx| {
            let done = work(tx);
            if dies {
                return Err(());
            }
            done.map_err(|error| {
                // A store in memory does not fail: every error is a refusal.
                if let LedgerError::Refused(why) = error {
                    refusal = Some(why);
                }
            })
        });
        self.outcome.counts.host_crashes += u64::from(dies);
        match (done, refusal) {
            (Ok(done), _) => Some(Ok(done)),
            (Err(()), Some(refusal)) => Some(Err(refusal)),
            (Err(()), None) => None,
        }
    }

    fn send(&mut self, event: impl Fn() -> Event) {
        let mut arrives = false;
        for at_ms in deliveries(&self.world.faults, &mut self.rng, self.now_ms) {
            self.agenda.plan(at_ms, event());
            arrives = true;
        }
        self.outcome.counts.messages_lost += u64::from(!arrives);
    }
}

/// Users and edges.
impl Run<'_> {
    fn request(&mut self) {
        self.requests_left = self.requests_left.saturating_sub(1);
        let mean_ms = self.world.campaign_ms / i64::from(self.world.requests);
        let next_ms = self.now_ms + self.rng.random_range(0..=2 * mean_ms);
        if next_ms < self.end_ms() {
            self.agenda.plan(next_ms, Event::Request);
        }
        self.batch.0 += 1;
        let Some(edge) = self.edge_of_a_user() else { return };
        let Some((face, discount)) = self.choose(edge) else { return };
        self.outcome.counts.wanted += 1;
        let local_ms = self.now_ms + self.edges[edge].clock_ms;
        let longest_ms = self.world.rules.longest_offer_ms;
        let life_ms = if self.rng.random_bool(0.7) { longest_ms } else { self.rng.random_range(60_000..longest_ms) };
        let expires_ms = local_ms + life_ms;
        let fate = self.fate(life_ms);
        self.demand.note(self.now_ms, &face, &discount, expires_ms, fate);
        let minted_ms = self.now_ms;
        let offer = Offer { face, discount, lease: 0, epoch: 0, expires_ms, minted_ms, state: OfferState::Out };
        let wish = Wish { offer, fate };
        self.edges[edge].waiting.push(wish);
        self.serve(edge, false);
    }

    /// Users get what there is, wait if there may soon be more, or go. After a refusal they are content with the first
    /// budget's part.
    fn serve(&mut self, at: usize, refused: bool) {
        for mut wish in std::mem::take(&mut self.edges[at].waiting) {
            let is_here = self.now_ms - wish.offer.minted_ms <= PATIENCE_MS;
            if is_here && self.mint(at, &wish) {
                continue;
            }
            if is_here && refused {
                wish = paid_by_the_first(&wish);
                if self.mint(at, &wish) {
                    continue;
                }
            }
            if is_here {
                self.edges[at].waiting.push(wish);
            } else {
                self.outcome.counts.censored += 1;
            }
        }
        self.turn(at);
        let edge = &mut self.edges[at];
        if edge.holder.state().pending.is_none() {
            self.outcome.counts.censored += edge.waiting.len() as u64;
            edge.waiting.clear();
        }
    }

    /// The edge that a user comes to. The users of one that is gone come to the next.
    fn edge_of_a_user(&mut self) -> Option<usize> {
        let point: f64 = self.rng.random();
        let first = self.traffic.partition_point(|part| *part < point).min(self.edges.len() - 1);
        (0..self.edges.len()).map(|next| (first + next) % self.edges.len()).find(|edge| !self.edges[*edge].gone)
    }

    /// What an edge wants to offer a user, if anything, and what an order would get of it.
    fn choose(&mut self, edge: usize) -> Option<(Amounts, Amounts)> {
        let price = if self.world.priced {
            match effective_price(self.edges[edge].price, self.now_ms, &self.world.patience) {
                EffectivePrice::Price(micros) => micros as f64 / 1e6,
                EffectivePrice::NoOffer => return None,
            }
        } else {
            0.0
        };
        let taste = self.rng.random::<f64>();
        let full = self.rng.random_range(LARGEST_FACE / 2..=LARGEST_FACE);
        let faces = [full / 4, full / 2, full];
        let arm = |face: u64| Arm {
            value: taste * (face as f64 * LARGEST_FACE as f64).sqrt() * 0.1,
            cost: self.world.redemption * face as f64,
        };
        let arms = faces.map(arm);
        let chosen = best_arm(&arms, price)?;
        self.batch.1 += arms[chosen].cost;
        let face = faces[chosen];
        // The first budget pays always; the others, where there are any, a part of some offers.
        let mut parts = vec![(BUDGETS[0], face)];
        for budget in BUDGETS.iter().take(self.world.totals.len()).skip(1) {
            if self.rng.random_bool(0.5) {
                parts.push((budget, face / 4));
            }
        }
        let given = if self.rng.random_bool(0.7) { 1.0 } else { self.rng.random_range(0.3..1.0) };
        let amounts = |part: f64| {
            let pairs = parts.iter().map(|(budget, face)| (*budget, Minor(((*face as f64 * part) as u64).max(1))));
            Amounts::new(pairs).ok()
        };
        Some((amounts(1.0)?, amounts(given)?))
    }

    /// After how long an offer is redeemed, if it is; sometimes too late.
    fn fate(&mut self, life_ms: i64) -> Option<i64> {
        let redeemed = self.rng.random_bool(self.world.redemption);
        let part = self.rng.random::<f64>() * 1.02;
        redeemed.then_some((life_ms as f64 * part * part) as i64)
    }

    /// An edge promises an offer, or dies over it; false if it has no money for it.
    fn mint(&mut self, at: usize, wish: &Wish) -> bool {
        let edge = &mut self.edges[at];
        let local_ms = self.now_ms + edge.clock_ms;
        let Wish { mut offer, fate } = wish.clone();
        let Ok(reservation) = edge.holder.reserve(local_ms, &offer.face, offer.expires_ms) else { return false };
        let dies = self.rng.random_bool(self.world.faults.crashes);
        if dies && self.rng.random_bool(0.5) {
            self.crash(at);
            return true;
        }
        edge.write();
        if dies {
            self.crash(at);
            return true;
        }
        let leases = &edge.holder.state().leases;
        offer.epoch = leases.iter().find(|held| held.lease.id == reservation.lease).map_or(0, |held| held.lease.epoch);
        offer.lease = reservation.lease;
        offer.minted_ms = self.now_ms;
        self.outcome.counts.offers += 1;
        let offer = self.books.mint(offer);
        if let Some(after_ms) = fate {
            let (order, tries) = (2 * offer as u64, 0);
            self.agenda.plan(self.now_ms + after_ms, Event::Redeem { offer, order, tries });
            if self.rng.random_bool(self.world.faults.double_spends) {
                let at_ms = self.now_ms + after_ms + self.rng.random_range(-500..500);
                self.agenda.plan(at_ms.max(self.now_ms), Event::Redeem { offer, order: order + 1, tries });
            }
        }
        true
    }

    /// An edge starts again from what it had written.
    fn crash(&mut self, at: usize) {
        self.outcome.counts.edge_crashes += 1;
        let forgets = self.world.sabotage.forget_writes;
        let edge = &mut self.edges[at];
        let bytes = if forgets { &edge.old } else { &edge.written };
        match Holder::decode(bytes, self.world.habits) {
            Ok(holder) => edge.holder = holder,
            Err(_) => self.outcome.disagreements += 1,
        }
    }

    /// An edge asks for what it wants, reports what the host should know, and says when it wants to be called again.
    fn turn(&mut self, at: usize) {
        let edge = &mut self.edges[at];
        let local_ms = self.now_ms + edge.clock_ms;
        let request = edge.holder.wants(local_ms);
        let is_due = edge.holder.next_ms().is_some_and(|next_ms| next_ms <= local_ms);
        let reports = if is_due { edge.holder.report(local_ms) } else { Vec::new() };
        if request.is_some() || !reports.is_empty() {
            edge.write();
        }
        if let Some(next_ms) = edge.holder.next_ms() {
            let next_ms = (next_ms - edge.clock_ms).max(self.now_ms + 1);
            if edge.round_ms.is_none_or(|planned_ms| next_ms < planned_ms) {
                edge.round_ms = Some(next_ms);
                self.agenda.plan(next_ms, Event::Round(at));
            }
        }
        if let Some(request) = request {
            self.send(|| Event::Ask(at, request.clone()));
        }
        for report in reports {
            self.send(|| Event::Tell(at, report.clone()));
        }
    }

    fn round(&mut self, at: usize) {
        if !self.edges[at].gone && self.edges[at].round_ms == Some(self.now_ms) {
            self.edges[at].round_ms = None;
            self.turn(at);
        }
    }

    fn answered(&mut self, at: usize, id: u128, answer: Result<Lease, Refusal>) {
        let edge = &mut self.edges[at];
        if edge.gone {
            return;
        }
        let local_ms = self.now_ms + edge.clock_ms;
        let refused = answer.is_err();
        match answer {
            Ok(mut lease) => {
                lease.mint_until_ms += self.world.sabotage.longer_leases_ms;
                edge.holder.accept(local_ms, lease);
            }
            Err(refusal) => edge.holder.refused(local_ms, id, &refusal),
        }
        self.serve(at, refused);
    }

    fn vanish(&mut self, at: usize) {
        self.outcome.counts.edges_lost += 1;
        self.edges[at].gone = true;
        for held in &self.edges[at].holder.state().leases {
            if !held.closed && held.lease.over_ms() > self.now_ms {
                self.agenda.plan(held.lease.over_ms(), Event::Return(held.left.clone()));
                self.books.lock(&held.left, false);
            }
        }
    }
}

/// The host.
impl Run<'_> {
    fn ask(&mut self, edge: usize, request: &GrantRequest) {
        let (host_ms, rules) = (self.host_ms(), self.world.rules);
        let is_new = self.ledger.lease(request.id).is_ok_and(|row| row.is_none());
        let Some(answer) = self.transact(|tx| ledger::grant(tx, &rules, host_ms, request)) else { return };
        if is_new && answer.is_ok() {
            self.outcome.counts.leases += 1;
            self.books.seen(host_ms);
        }
        self.send(|| Event::Answered(edge, request.id, answer.clone()));
    }

    fn tell(&mut self, edge: usize, report: &LeaseReport) {
        let host_ms = self.host_ms();
        let Some(answer) = self.transact(|tx| ledger::report(tx, host_ms, report)) else { return };
        if answer == Ok(Reported::Taken) {
            self.books.seen(host_ms);
        }
        let (lease, sequence) = (report.lease, report.sequence);
        self.send(|| Event::Confirmed(edge, lease, sequence, answer.clone()));
    }

    fn redeem(&mut self, offer: usize, order: u64, tries: u8) {
        let Offer { face, discount, lease, expires_ms, .. } = self.books.offers[offer].clone();
        let (campaign, jti) = ("campaign".to_owned(), offer as u128);
        let claims = Claims { jti, lease, campaign, face, expires_ms };
        let (host_ms, name) = (self.host_ms(), order.to_string());
        let before = self.books.offers[offer].state.clone();
        let answer = self.transact(|tx| ledger::redeem(tx, host_ms, &claims, &name, &discount));
        let (again, mut unheard) = (tries + 1 < TRIES, answer.is_none());
        match answer {
            Some(Ok(receipt)) if receipt.repeated => self.books.settled_before(offer, order, &receipt.discount),
            Some(Ok(receipt)) => {
                self.books.settle(offer, order, &receipt.discount);
                self.books.seen(host_ms);
                self.outcome.counts.redemptions += 1;
                if self.rng.random_bool(self.world.faults.refunds) {
                    self.agenda.plan(self.now_ms + 60_000, Event::Refund { offer, order });
                }
            }
            Some(Err(Refusal::AlreadyRedeemed { .. })) => {
                self.outcome.counts.double_spends += 1;
                let other = matches!(before, OfferState::Redeemed { order: first, .. } if first != order);
                self.outcome.wronged += u64::from(!other);
                return;
            }
            Some(Err(_)) => {
                let good = before == OfferState::Out && expires_ms > self.books.time_ms(host_ms);
                self.outcome.wronged += u64::from(good);
                return;
            }
            None => {}
        }
        // The answer may be lost, as the request may: the shop tries again.
        unheard |= self.rng.random_bool(self.world.faults.lost + self.world.faults.doubled);
        if unheard && again {
            let at_ms = self.now_ms + TRY_AGAIN_MS;
            self.agenda.plan(at_ms, Event::Redeem { offer, order, tries: tries + 1 });
        }
    }

    fn refund(&mut self, offer: usize, order: u64) {
        let host_ms = self.host_ms();
        match self.transact(|tx| ledger::refund(tx, host_ms, offer as u128, &order.to_string())) {
            Some(Ok(())) => {
                self.books.refund(offer);
                self.books.seen(host_ms);
            }
            Some(Err(_)) => self.outcome.wronged += 1,
            None => {}
        }
    }

    fn look(&mut self) {
        let host_ms = self.host_ms();
        let by_ms = host_ms + self.world.sabotage.reclaim_ahead_ms;
        if let Some(Ok(reclaimed)) = self.transact(|tx| ledger::reclaim(tx, by_ms, usize::MAX))
            && reclaimed.leases > 0
        {
            self.books.seen(host_ms);
        }
        if self.now_ms < self.end_ms() {
            self.agenda.plan(self.now_ms + self.world.campaign_ms / LOOKS, Event::Look);
        }
    }

    fn publish(&mut self) {
        let (requests, cost) = std::mem::take(&mut self.batch);
        let truth = &self.books.budgets[0];
        let left = truth.total.saturating_sub(truth.settled) as f64 - self.world.redemption * truth.out as f64;
        self.price.observe(requests, cost, left, self.requests_left);
        let published = self.price.publish(self.now_ms);
        let price_micros = (published.price_micros as f64 * self.world.price_bias) as u64;
        for edge in &mut self.edges {
            if !self.rng.random_bool(self.world.faults.lost) {
                edge.price = Some(Published { price_micros, ..published });
            }
        }
        if self.now_ms < self.end_ms() {
            self.agenda.plan(self.now_ms + self.world.campaign_ms / PRICES, Event::Price);
        }
    }

    fn new_epoch(&mut self) {
        let (host_ms, epoch) = (self.host_ms(), self.books.epoch + 1);
        let done = self.ledger.transaction(|tx| ledger::change_epoch(tx, host_ms, epoch));
        self.outcome.disagreements += u64::from(done.is_err());
        self.books.begin_epoch(host_ms, epoch);
    }

    fn change_totals(&mut self) {
        let host_ms = self.host_ms();
        for (at, name) in BUDGETS.iter().enumerate().take(self.world.totals.len()) {
            let Ok(Some(row)) = self.ledger.budget(name) else { continue };
            let total = Minor((row.terms.total.0 as f64 * self.world.faults.change_of_totals) as u64);
            let terms = TermsV1 { total, ..row.terms };
            if self.ledger.transaction(|tx| ledger::change_budget(tx, host_ms, name, terms)).is_ok() {
                self.books.budgets[at].total = total.0;
                self.books.seen(host_ms);
            }
        }
    }

    /// The ledger's numbers agree with each other, and with the books.
    fn audit(&mut self) {
        for (truth, name) in self.books.budgets.iter().zip(BUDGETS) {
            let Ok(Some(row)) = self.ledger.budget(name) else {
                self.outcome.disagreements += 1;
                continue;
            };
            let held: u64 = self.ledger.leases().map(|lease| lease.held.get(name).0).sum();
            let good = row.held.0 == held
                && row.locked <= row.held
                && row.settled.0 == truth.settled
                && row.settled.plus(row.held) <= row.terms.total;
            self.outcome.disagreements += u64::from(!good);
        }
    }

    fn finish(mut self) -> Outcome {
        self.outcome.overspends = self.books.overspends;
        self.outcome.doubled = self.books.doubled;
        self.outcome.too_late = self.books.too_late;
        for (at, truth) in self.books.budgets.iter().enumerate() {
            let hindsight = self.demand.hindsight(at, &self.world.totals);
            self.outcome.judge(self.world, hindsight, truth.peak, truth.settled, truth.total);
        }
        self.outcome
    }
}

fn edge(world: &World, at: usize, rng: &mut ChaCha8Rng) -> Edge {
    // Twins are two edges that started from one stored state: they have the same name and nonce.
    let source = if world.sabotage.twins { at / 2 } else { at };
    let nonce = if world.sabotage.twins { source as u64 } else { rng.next_u64() };
    let skew_ms = world.rules.skew_ms;
    let holder = Holder::new(&format!("edge-{source}"), nonce, world.habits).expect("a name of letters and digits");
    let written = holder.encode();
    Edge {
        old: written.clone(),
        written,
        writes: 0,
        holder,
        clock_ms: rng.random_range(-skew_ms..=skew_ms),
        price: None,
        waiting: Vec::new(),
        round_ms: None,
        gone: false,
    }
}

/// The same offer without the other budgets' part.
fn paid_by_the_first(wish: &Wish) -> Wish {
    let first = |amounts: &Amounts| {
        Amounts::new([(BUDGETS[0], amounts.get(BUDGETS[0]))]).expect("the first budget pays always")
    };
    let (face, discount) = (first(&wish.offer.face), first(&wish.offer.discount));
    Wish { offer: Offer { face, discount, ..wish.offer.clone() }, ..wish.clone() }
}

/// Zipf's law over the edges.
fn traffic(world: &World) -> Vec<f64> {
    let weights = (1..=world.edges).map(|rank| (rank as f64).powf(-world.skew_of_traffic));
    let all: f64 = weights.clone().sum();
    weights
        .scan(0.0, |sum, weight| {
            *sum += weight / all;
            Some(*sum)
        })
        .collect()
}
