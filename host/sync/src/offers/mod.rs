//! Offers: decided by the engine, paid from leases, signed here, and redeemed once.
//!
//! Everything that costs money happens in one transaction of the ledger: the decision of an epoch is noted, its face is put
//! aside and the token is made, or none of it; an order's offers are settled all together or not at all. A decision without an
//! offer is noted as well, so that asking again is of no use, but nobody waits for the disk: after a power cut it may be made again. What a user is told
//! is whether there is an offer and its terms, never a score.

mod decide;
mod pace;
mod redeem;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use selvedge_budget::holder::Habits;
use selvedge_budget::ledger::{self, Balance, LedgerError, Refusal, Rules, TermsV1 as BudgetTermsV1};
use selvedge_budget::{GrantRequest, Lease, LeaseReport, Minor, Reported};
use selvedge_engine::{Engine, Limits};
use selvedge_format::container::{Container, ContentId, Kind};
use selvedge_format::head::{BlobV1, HeadV1, PriceV1};
use selvedge_format::program::ProgramV1;
use selvedge_format::terms::{self, TermsV1};
use selvedge_format::{AlignedBytes, DecodeError};
use selvedge_offer::{CartError, Nothing, TokenRefusal};

use crate::key::SigningKey;
use crate::store::{Kept, OffersTx, Store, StoreError};

pub use decide::Asked;
pub use pace::Paced;
pub use redeem::{Order, Redeemed, RedeemedOffer};
pub use selvedge_offer::{Answer, Made};

/// Leases that are looked at in one transaction, so that others get their turn.
const RECLAIM_AT_ONCE: usize = 256;
/// Terms of bundles that are kept at hand; offers outlive the bundle that made them by some publications at most.
const TERMS_AT_HAND: usize = 16;

/// How offers are signed, paid and checked.
#[derive(Debug)]
pub struct OffersOptions {
    /// Signs offers.
    pub key: SigningKey,
    /// Public halves of keys whose offers are taken besides.
    pub previous: Vec<[u8; 32]>,
    /// Hides users in tokens and makes draws that nobody can reproduce.
    pub secret: Vec<u8>,
    /// Who makes offers.
    pub issuer: String,
    /// Who redeems them.
    pub audience: String,
    /// How leases are granted.
    pub rules: Rules,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OffersError {
    /// No bundle with campaigns is deployed.
    #[error("no bundle with campaigns is deployed")]
    NoCampaigns,
    /// The document of a question cannot be used.
    #[error("{0}")]
    Document(String),
    /// A token is not believed.
    #[error("offer {position}: {refusal}")]
    Token {
        /// Which of the order's tokens.
        position: usize,
        /// Why not.
        refusal: TokenRefusal,
    },
    /// A token of another user.
    #[error("offer {position} was made to another user")]
    OtherUser {
        /// Which of the order's tokens.
        position: usize,
    },
    /// Terms that nobody here knows.
    #[error(
        "offer {position}: its terms are not known here: no bundle {} with them is stored",
        crate::channel::hex(bundle)
    )]
    UnknownTerms {
        /// Which of the order's tokens.
        position: usize,
        /// The bundle that it names.
        bundle: ContentId,
    },
    /// The cart cannot be used.
    #[error(transparent)]
    Cart(#[from] CartError),
    /// An offer gives nothing on this cart.
    #[error("offer {position} gives nothing on this cart: {}", why.name())]
    GivesNothing {
        /// Which of the order's tokens.
        position: usize,
        /// Why.
        why: Nothing,
    },
    /// More tokens than an order may have.
    #[error("an order has 1 to {} offers", redeem::MAX_TOKENS)]
    TooManyTokens,
    /// The ledger says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is deployed cannot be used.
    #[error("what is deployed does not load: {0}")]
    Damaged(DecodeError),
}

impl From<LedgerError<StoreError>> for OffersError {
    fn from(error: LedgerError<StoreError>) -> Self {
        match error {
            LedgerError::Refused(refusal) => Self::Refused(refusal),
            LedgerError::Store(error) => Self::Store(error),
            // The enum may grow; what is not known is a failure.
            other => Self::Store(StoreError::Io(other.to_string())),
        }
    }
}

/// What decides at present.
struct Deployed {
    engine: Engine,
    program: ProgramV1,
    terms: Arc<TermsV1>,
    bundle: ContentId,
    prices: Vec<PriceV1>,
    sequence: u64,
    killed: bool,
}

/// Decides, mints and redeems.
pub struct Offers {
    store: Arc<dyn Store>,
    options: OffersOptions,
    keys: selvedge_offer::Keys,
    deployed: Mutex<Option<Deployed>>,
    known: Mutex<BTreeMap<ContentId, Arc<TermsV1>>>,
    paced: Mutex<BTreeMap<String, Paced>>,
}

impl std::fmt::Debug for Offers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offers").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Offers {
    /// Offers of this store.
    ///
    /// # Errors
    /// Rules of leases that are of no use, a previous key that is none.
    pub fn new(store: Arc<dyn Store>, options: OffersOptions) -> Result<Self, String> {
        options.rules.check().map_err(|refusal| refusal.to_string())?;
        let own = *options.key.public().as_bytes();
        let keys = options.previous.iter().copied().chain([own]);
        let keys = selvedge_offer::Keys::new(keys).map_err(|_| "a previous key is not a public key".to_owned())?;
        Ok(Self { store, options, keys, deployed: Mutex::default(), known: Mutex::default(), paced: Mutex::default() })
    }

    /// From now on this head decides.
    ///
    /// # Errors
    /// What it names is not there or does not load; what was there before decides on.
    pub fn deploy(&self, head: &HeadV1) -> Result<(), OffersError> {
        let mut deployed = self.deployed();
        let mut engine = Engine::new(Limits::default());
        let bundle = self.load(&mut engine, head.bundle)?;
        if let Some(shared) = head.shared {
            self.load(&mut engine, shared)?;
        }
        let program = engine.snapshot().map(|snapshot| snapshot.program().clone()).ok_or(OffersError::NoCampaigns)?;
        let terms = Arc::new(terms_of(&bundle).map_err(OffersError::Damaged)?.unwrap_or_default());
        *deployed = Some(Deployed {
            engine,
            program,
            terms,
            bundle: head.bundle.id,
            prices: head.prices.clone(),
            sequence: head.sequence,
            killed: head.killed,
        });
        Ok(())
    }

    fn load(&self, engine: &mut Engine, blob: BlobV1) -> Result<AlignedBytes, OffersError> {
        let missing = || StoreError::Corrupt(format!("blob {} is not there", crate::channel::hex(&blob.id)));
        let bytes = AlignedBytes::copy_of(&self.store.blob(&blob.id)?.ok_or_else(missing)?);
        engine.load(AlignedBytes::copy_of(&bytes)).map_err(OffersError::Damaged)?;
        Ok(bytes)
    }

    /// Opens a budget, or changes its terms.
    ///
    /// # Errors
    /// Terms that are none, a total below what is committed; or the store fails.
    pub fn set_budget(&self, now_ms: i64, name: &str, terms: BudgetTermsV1) -> Result<Balance, OffersError> {
        self.transact(|tx| {
            let known = tx.budget(name).map_err(LedgerError::Store)?.is_some();
            if known {
                ledger::change_budget(tx, now_ms, name, terms)?;
            } else {
                ledger::open_budget(tx, now_ms, name, terms)?;
            }
            ledger::balance(tx, name)
        })
    }

    /// All budgets as they are, with what is due given back.
    ///
    /// # Errors
    /// The store fails.
    pub fn balances(&self, now_ms: i64) -> Result<Vec<(String, Balance)>, OffersError> {
        self.reclaim(now_ms)?;
        self.transact(|tx| {
            let names = tx.budgets().map_err(LedgerError::Store)?;
            names.into_iter().map(|name| Ok((name.clone(), ledger::balance(tx, &name)?))).collect()
        })
    }

    /// Grants a lease to an edge.
    ///
    /// # Errors
    /// The ledger says no; or the store fails.
    pub fn grant(&self, now_ms: i64, request: &GrantRequest) -> Result<Lease, OffersError> {
        self.reclaim(now_ms)?;
        self.transact(|tx| ledger::grant(tx, &self.options.rules, now_ms, request))
    }

    /// Takes an edge's report.
    ///
    /// # Errors
    /// The ledger says no; or the store fails.
    pub fn report(&self, now_ms: i64, report: &LeaseReport) -> Result<Reported, OffersError> {
        self.transact(|tx| ledger::report(tx, now_ms, report))
    }

    /// Gives back what is due.
    ///
    /// # Errors
    /// The store fails.
    pub fn reclaim(&self, now_ms: i64) -> Result<(), OffersError> {
        let reclaim = |tx: &mut dyn OffersTx| {
            let done = ledger::reclaim(tx, now_ms, RECLAIM_AT_ONCE)?;
            // Nothing is due at most questions, and there is nothing to write then.
            Ok((done, if done.leases > 0 { Kept::Durably } else { Kept::Nothing }))
        };
        while self.transact_as_said(reclaim)?.more {}
        Ok(())
    }

    fn transact<T>(
        &self,
        mut work: impl FnMut(&mut dyn OffersTx) -> Result<T, LedgerError<StoreError>>,
    ) -> Result<T, OffersError> {
        self.transact_as_said(|tx| Ok((work(tx)?, Kept::Durably)))
    }

    /// A transaction that says itself whether it must be durable.
    fn transact_as_said<T>(
        &self,
        mut work: impl FnMut(&mut dyn OffersTx) -> Result<(T, Kept), LedgerError<StoreError>>,
    ) -> Result<T, OffersError> {
        let mut done = None;
        self.store.transact(&mut |tx| {
            let (answer, kept) = work(tx)?;
            done = Some(answer);
            Ok(kept)
        })?;
        done.ok_or_else(|| StoreError::Io("the store did not run a transaction".to_owned()).into())
    }

    /// The terms of a bundle that is stored here.
    fn terms(&self, bundle: &ContentId) -> Result<Option<Arc<TermsV1>>, OffersError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(terms) = known.get(bundle) {
            return Ok(Some(Arc::clone(terms)));
        }
        let Some(bytes) = self.store.blob(bundle)? else { return Ok(None) };
        let Some(terms) = terms_of(&bytes).map_err(OffersError::Damaged)? else { return Ok(None) };
        if known.len() >= TERMS_AT_HAND {
            known.clear();
        }
        let terms = Arc::new(terms);
        known.insert(*bundle, Arc::clone(&terms));
        Ok(Some(terms))
    }

    fn paced_now(&self) -> MutexGuard<'_, BTreeMap<String, Paced>> {
        self.paced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deployed(&self) -> MutexGuard<'_, Option<Deployed>> {
        self.deployed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The terms section of a bundle, if it has one.
fn terms_of(bundle: &[u8]) -> Result<Option<TermsV1>, DecodeError> {
    let container = Container::parse(bundle, Kind::Bundle)?;
    container.find(terms::TAG).map(|section| TermsV1::decode(&bundle[section.range.clone()])).transpose()
}

/// How the host's own holder asks: from the same process, so at once, and little at a time.
const fn own_habits() -> Habits {
    Habits { cover_ms: 60_000, idle_ms: 600_000, most: Minor::MOST, retry_ms: 1, pause_ms: 1 }
}
