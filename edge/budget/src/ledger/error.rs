//! Why a ledger did not do what it was asked. Nothing of the call has happened then.

use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::{MAX_NAME, Minor};

/// The store failed, or the rules say no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError<E> {
    /// The transaction must not be committed.
    #[error("the ledger's store failed: {0}")]
    Store(E),
    /// The rules say no. Nothing was written.
    #[error("{0}")]
    Refused(#[from] Refusal),
}

/// What the rules say no to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A name of a budget, holder or order.
    #[error("{name:?} is not a name: 1 to {MAX_NAME} of a-z, 0-9, `.`, `_`, `-`")]
    BadName {
        /// What was given.
        name: String,
    },
    /// An order without a usable id.
    #[error("the id of an order must be 1 to {most} bytes, this one is {length}", most = super::MAX_ORDER)]
    BadOrder {
        /// Its length in bytes.
        length: usize,
    },
    /// The host's own rules.
    #[error("the rules of leases are not usable: {what}")]
    BadRules {
        /// What must be.
        what: String,
    },
    /// A total or limit of nothing, or of more than there can be.
    #[error("budget {budget}: totals and limits must be 1 to {most} minor units", most = Minor::MOST)]
    BadTerms {
        /// Of which budget.
        budget: String,
    },
    /// The ledger has no such budget.
    #[error("there is no budget {budget}; open it first")]
    UnknownBudget {
        /// The name.
        budget: String,
    },
    /// Open already, on other terms.
    #[error("budget {budget} is open on other terms; change it instead")]
    AlreadyOpen {
        /// The name.
        budget: String,
    },
    /// A total below what is settled or held.
    #[error(
        "budget {budget} has {committed} settled or held, the total cannot be lower; wait for leases and offers to end"
    )]
    BelowCommitted {
        /// Of which budget.
        budget: String,
        /// Settled and held.
        committed: Minor,
    },
    /// Epochs only grow.
    #[error("epoch {given} is not above {current}, the ledger's own")]
    EpochNotAbove {
        /// The ledger's.
        current: u64,
        /// What was given.
        given: u64,
    },
    /// A request for nothing.
    #[error("the request wants nothing of any budget")]
    NothingWanted,
    /// The id of a request was used by somebody else.
    #[error("lease {lease:032x} is of another holder; ask under a new id")]
    OtherHolder {
        /// Id of the request or lease.
        lease: u128,
    },
    /// A budget has too little left, in all or for the day.
    #[error("budget {budget} has {free} free, below the {least} that were asked for at least; ask again later")]
    NotEnough {
        /// Which.
        budget: String,
        /// What can be granted now.
        free: Minor,
        /// What was asked for.
        least: Minor,
    },
    /// The day of a budget with a daily limit is nearly over.
    #[error("the day of budget {budget} ends before a lease would be of use; ask again at {next_ms}")]
    DayEnds {
        /// Which.
        budget: String,
        /// When the next one begins.
        next_ms: i64,
    },
    /// The ledger has no such lease.
    #[error("lease {lease:032x} is unknown")]
    UnknownLease {
        /// Its id.
        lease: u128,
    },
    /// A lease from before the ledger started again.
    #[error("lease {lease:032x} is of epoch {epoch}, the ledger's is {current}")]
    OtherEpoch {
        /// Its id.
        lease: u128,
        /// Its epoch.
        epoch: u64,
        /// The ledger's.
        current: u64,
    },
    /// A lease whose money has gone back to the budget.
    #[error("lease {lease:032x} is over and its money has gone back")]
    LeaseReclaimed {
        /// Its id.
        lease: u128,
    },
    /// A report of more than was granted.
    #[error("lease {lease:032x}: more of budget {budget} is reported as minted than was granted")]
    MintedAboveLease {
        /// The lease.
        lease: u128,
        /// The budget.
        budget: String,
    },
    /// A report that is not sorted as the lease says.
    #[error("lease {lease:032x}: no offer of it expires in a bucket that ends at {end_ms}")]
    BadBucket {
        /// The lease.
        lease: u128,
        /// The bucket.
        end_ms: i64,
    },
    /// An offer of nothing.
    #[error("offer {jti:032x} promises nothing")]
    NoFace {
        /// The offer.
        jti: u128,
    },
    /// An offer was redeemed by another order.
    #[error("offer {jti:032x} was redeemed by another order")]
    AlreadyRedeemed {
        /// The offer.
        jti: u128,
    },
    /// An offer's time is over.
    #[error("offer {jti:032x} expired at {expires_ms}, it is {now_ms}")]
    Expired {
        /// The offer.
        jti: u128,
        /// Its end.
        expires_ms: i64,
        /// The ledger's time.
        now_ms: i64,
    },
    /// An offer that lives longer than its lease allows.
    #[error("offer {jti:032x} expires at {expires_ms}, after {latest_ms}, the last that its lease allows")]
    LifeTooLong {
        /// The offer.
        jti: u128,
        /// Its end.
        expires_ms: i64,
        /// The last end that its lease allows.
        latest_ms: i64,
    },
    /// An offer of more than its lease holds.
    #[error("offer {jti:032x} promises {face} of budget {budget}, its lease has {left} left")]
    AboveLease {
        /// The offer.
        jti: u128,
        /// The budget.
        budget: String,
        /// What is promised.
        face: Minor,
        /// What the lease holds.
        left: Minor,
    },
    /// A discount above what the offer promised.
    #[error("the discount from budget {budget} is above the face value of offer {jti:032x}")]
    AboveFace {
        /// The offer.
        jti: u128,
        /// The budget.
        budget: String,
    },
    /// Nothing to refund.
    #[error("offer {jti:032x} was not redeemed by this order")]
    NotRedeemed {
        /// The offer.
        jti: u128,
    },
}

impl Refusal {
    /// A stable name, for programs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::BadName { .. } => "bad-name",
            Self::BadOrder { .. } => "bad-order",
            Self::BadRules { .. } => "bad-rules",
            Self::BadTerms { .. } => "bad-terms",
            Self::UnknownBudget { .. } => "unknown-budget",
            Self::AlreadyOpen { .. } => "already-open",
            Self::BelowCommitted { .. } => "below-committed",
            Self::EpochNotAbove { .. } => "epoch-not-above",
            Self::NothingWanted => "nothing-wanted",
            Self::OtherHolder { .. } => "other-holder",
            Self::NotEnough { .. } => "not-enough",
            Self::DayEnds { .. } => "day-ends",
            Self::UnknownLease { .. } => "unknown-lease",
            Self::OtherEpoch { .. } => "other-epoch",
            Self::LeaseReclaimed { .. } => "lease-reclaimed",
            Self::MintedAboveLease { .. } => "minted-above-lease",
            Self::BadBucket { .. } => "bad-bucket",
            Self::NoFace { .. } => "no-face",
            Self::AlreadyRedeemed { .. } => "already-redeemed",
            Self::Expired { .. } => "expired",
            Self::LifeTooLong { .. } => "life-too-long",
            Self::AboveLease { .. } => "above-lease",
            Self::AboveFace { .. } => "above-face",
            Self::NotRedeemed { .. } => "not-redeemed",
        }
    }
}
