//! One decision per user, campaign and epoch, and the offer that comes of it.

use selvedge_budget::Amounts;
use selvedge_budget::holder;
use selvedge_budget::holder::Holder;
use selvedge_budget::ledger::{self, LedgerError};
use selvedge_engine::{Campaigns, Snapshot};
use selvedge_format::campaign::CampaignsV1;
use selvedge_format::decision::{NoOffer, OfferStatus};
use selvedge_format::key;
use selvedge_format::request::BudgetNow;
use selvedge_format::terms::{CampaignTermsV1, OfferV1};
use selvedge_offer::{Answer, Made, Minting, NoteV1, Said, assign, decide, token};
use selvedge_wire::{RequestBuilder, json};

use super::redeem::amounts;
use super::{Deployed, Offers, OffersError, own_habits};
use crate::store::{Kept, OffersTx, StoreError};

/// Where the host's own holder is noted.
const HOLDER: &[u8] = b"holder";
/// Its name in the ledger.
const HOLDER_NAME: &str = "host";

/// Who asks, and about what.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// The user.
    pub user: &'a str,
    /// The device, for caps by device.
    pub device: Option<&'a str>,
    /// Name of the campaign; the first that the user is eligible for, unless given.
    pub campaign: Option<&'a str>,
    /// A request document without candidates: `time`, `utc_offset_min`, `user`, `context`.
    pub document: serde_json::Value,
    /// The user's state.
    pub state: &'a [u8],
    /// Whether only to look: nothing is drawn, noted, or put aside.
    pub is_preview: bool,
}

impl Offers {
    /// Decides about a user, once per campaign and epoch: asked again, the answer is the same.
    ///
    /// # Errors
    /// No bundle with campaigns is deployed, the document cannot be used, or the store fails.
    pub fn decide(&self, now_ms: i64, asked: &Asked<'_>) -> Result<Answer, OffersError> {
        let mut guard = self.deployed();
        let Some(deployed) = guard.as_mut().filter(|deployed| !deployed.terms.campaigns.is_empty()) else {
            return Err(OffersError::NoCampaigns);
        };
        if deployed.killed {
            return Ok(Answer::new("", OfferStatus::None(NoOffer::Fallback), None));
        }
        let text = asked.document.to_string();
        let builder = json::builder_of_user(text.as_bytes(), &deployed.program, asked.state)
            .map_err(|error| OffersError::Document(error.to_string()))?;
        self.reclaim(now_ms)?;
        self.transact_as_said(|tx| self.decide_within(tx, now_ms, asked, deployed, &builder))
    }

    fn decide_within(
        &self,
        tx: &mut dyn OffersTx,
        now_ms: i64,
        asked: &Asked<'_>,
        deployed: &mut Deployed,
        builder: &RequestBuilder,
    ) -> Result<(Answer, Kept), LedgerError<StoreError>> {
        let store = LedgerError::Store;
        let mut holder = own_holder(tx).map_err(store)?;
        let budgets = budgets_now(tx, now_ms, deployed, &holder)?;
        let wanted = asked.campaign.map_or(0, |name| key(name.as_bytes()));
        // A first look says which campaign it is; what is noted about it decides with the second.
        let look = ask(deployed, builder.clone().offer(wanted, None, &budgets, &[]));
        let Some(campaign) = look.campaign_of(&deployed.terms).cloned() else {
            return Ok((Answer::new("", OfferStatus::None(NoOffer::NoCampaign), None), Kept::Nothing));
        };
        let subject = assign::subject(&self.options.secret, asked.user);
        let user_key = note_key(b'u', &subject, look.campaign);
        let device_key =
            asked.device.map(|device| note_key(b'd', &assign::subject(&self.options.secret, device), look.campaign));
        let mut note = read_note(tx, &user_key).map_err(store)?;
        if note.is_of(look.epoch) && !asked.is_preview {
            return Ok((Answer::again(now_ms, &deployed.terms, &campaign, note), Kept::Nothing));
        }
        let device_note = device_key.as_ref().map(|key| read_note(tx, key)).transpose().map_err(store)?;
        let counts = decide::counts(declared(deployed), look.campaign, now_ms, &note, device_note.as_ref());
        let draw = assign::draw(&self.options.secret, asked.user, &campaign.campaign, look.epoch);
        let draw = (!asked.is_preview).then_some(draw);
        let decided = ask(deployed, builder.clone().offer(look.campaign, draw, &budgets, &counts));
        let offer = decided.offer_of(&campaign);
        if asked.is_preview {
            let terms = &deployed.terms;
            let made = offer.map(|offer| Made::new(terms, &campaign, offer, None, decide::expires_ms(now_ms, offer)));
            return Ok((Answer::new(&campaign.campaign, decided.status, made), Kept::Nothing));
        }
        let mut status = decided.status;
        let mut made = None;
        if let Some(offer) = offer {
            made = self.mint(tx, now_ms, deployed, &campaign, offer, &decided, subject, &mut holder)?;
            if made.is_none() {
                // The money went elsewhere between the decision and now: this was not a choice, and is not logged as one.
                status = OfferStatus::None(NoOffer::NoBudget);
            }
        }
        let is_censored = offer.is_some() && made.is_none();
        tracing::info!(
            target: "selvedge::offers",
            campaign = %campaign.campaign, subject = %crate::channel::hex(&subject), epoch = decided.epoch,
            arm = decided.arm, best = decided.best, propensity = f64::from(decided.propensity),
            status = status.names().0, reason = status.names().1, censored = is_censored,
            price = deployed.sequence, "decided"
        );
        if offer.is_some() {
            tx.put_note(HOLDER, &holder.encode()).map_err(store)?;
        }
        if is_censored {
            return Ok((Answer::new(&campaign.campaign, status, None), Kept::Durably));
        }
        note.decided(decided.epoch, status, made.as_ref());
        if made.is_some() {
            note.remember(now_ms);
            if let (Some(key), Some(mut device)) = (&device_key, device_note) {
                device.remember(now_ms);
                put_note(tx, key, &device).map_err(store)?;
            }
        }
        put_note(tx, &user_key, &note).map_err(store)?;
        let kept = if made.is_some() { Kept::Durably } else { Kept::Later };
        Ok((Answer::new(&campaign.campaign, status, made), kept))
    }

    /// Puts the face aside and signs; nothing where the money is not there.
    #[expect(clippy::too_many_arguments, reason = "what a token says comes from as many places")]
    fn mint(
        &self,
        tx: &mut dyn OffersTx,
        now_ms: i64,
        deployed: &Deployed,
        campaign: &CampaignTermsV1,
        offer: &OfferV1,
        decided: &Said,
        subject: [u8; 16],
        holder: &mut Holder,
    ) -> Result<Option<Made>, LedgerError<StoreError>> {
        let expires_ms = decide::expires_ms(now_ms, offer);
        let faces = token::faces(&campaign.funders, offer.face());
        let Some(lease) = reserve(tx, self, now_ms, holder, &amounts(&faces)?, expires_ms)? else {
            return Ok(None);
        };
        let mut jti = [0; 16];
        getrandom::fill(&mut jti).map_err(|error| LedgerError::Store(StoreError::Io(error.to_string())))?;
        let minting = Minting {
            issuer: &self.options.issuer,
            audience: &self.options.audience,
            subject,
            jti,
            now_ms,
            lease,
            bundle: deployed.bundle,
            price: deployed.sequence,
        };
        let claims = minting.claims(&deployed.terms, campaign, offer, decided);
        let minted = self.options.key.mint(&claims);
        let token =
            minted.map_err(|error| LedgerError::Store(StoreError::Io(format!("an offer was not signed: {error}"))))?;
        Ok(Some(Made::new(&deployed.terms, campaign, offer, Some(token), expires_ms)))
    }
}

fn ask(deployed: &mut Deployed, request: RequestBuilder) -> Said {
    Said::of(deployed.engine.decide(&request.build()))
}

/// Prices of the head, and what can be put aside of each budget that a campaign names: what is held and what is free.
fn budgets_now(
    tx: &mut dyn OffersTx,
    now_ms: i64,
    deployed: &Deployed,
    holder: &Holder,
) -> Result<Vec<BudgetNow>, LedgerError<StoreError>> {
    let held = holder.spendable(now_ms);
    decide::budgets(&deployed.terms, declared(deployed), &deployed.prices, |budget| {
        let is_open = tx.budget(budget).map_err(LedgerError::Store)?.is_some();
        is_open.then(|| Ok(ledger::balance(tx, budget)?.free.plus(held.get(budget)).0)).transpose()
    })
}

fn declared(deployed: &Deployed) -> Option<&CampaignsV1> {
    deployed.engine.snapshot().and_then(Snapshot::campaigns).map(Campaigns::declared)
}

/// Puts a face aside, asking the ledger for a lease where the holder has none with enough.
fn reserve(
    tx: &mut dyn OffersTx,
    offers: &Offers,
    now_ms: i64,
    holder: &mut Holder,
    face: &Amounts,
    expires_ms: i64,
) -> Result<Option<u128>, LedgerError<StoreError>> {
    if let Ok(reserved) = holder.reserve(now_ms, face, expires_ms) {
        return Ok(Some(reserved.lease));
    }
    for report in holder.report(now_ms) {
        let (lease, sequence) = (report.lease, report.sequence);
        let answer = refusable(ledger::report(tx, now_ms, &report))?;
        holder.reported(lease, sequence, &answer);
    }
    let Some(request) = holder.wants(now_ms) else { return Ok(None) };
    match refusable(ledger::grant(tx, &offers.options.rules, now_ms, &request))? {
        Ok(lease) => holder.accept(now_ms, lease),
        Err(refusal) => holder.refused(now_ms, request.id, &refusal),
    }
    Ok(holder.reserve(now_ms, face, expires_ms).ok().map(|reserved| reserved.lease))
}

/// A refusal is an answer; a failing store is none.
fn refusable<T>(
    answer: Result<T, LedgerError<StoreError>>,
) -> Result<Result<T, ledger::Refusal>, LedgerError<StoreError>> {
    match answer {
        Ok(done) => Ok(Ok(done)),
        Err(LedgerError::Refused(refusal)) => Ok(Err(refusal)),
        Err(error) => Err(error),
    }
}

fn own_holder(tx: &mut dyn OffersTx) -> Result<Holder, StoreError> {
    if let Some(state) = tx.note(HOLDER)? {
        return Holder::decode(&state, own_habits())
            .map_err(|error| StoreError::Corrupt(format!("the host's own leases cannot be read: {error}")));
    }
    let mut nonce = [0; 8];
    getrandom::fill(&mut nonce).map_err(|error| StoreError::Io(error.to_string()))?;
    let named: Result<Holder, holder::BadName> = Holder::new(HOLDER_NAME, u64::from_le_bytes(nonce), own_habits());
    named.map_err(|error| StoreError::Io(error.to_string()))
}

fn note_key(of: u8, subject: &[u8; 16], campaign: u64) -> Vec<u8> {
    [&[of], &subject[..], &campaign.to_be_bytes()].concat()
}

fn read_note(tx: &mut dyn OffersTx, key: &[u8]) -> Result<NoteV1, StoreError> {
    match tx.note(key)? {
        None => Ok(NoteV1::default()),
        Some(bytes) => postcard::from_bytes(&bytes)
            .map_err(|error| StoreError::Corrupt(format!("what is noted of a user's offers cannot be read: {error}"))),
    }
}

fn put_note(tx: &mut dyn OffersTx, key: &[u8], note: &NoteV1) -> Result<(), StoreError> {
    let bytes = postcard::to_allocvec(note).map_err(|error| StoreError::Io(error.to_string()))?;
    tx.put_note(key, &bytes)
}
