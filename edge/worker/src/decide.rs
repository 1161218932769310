//! One decision per user, campaign and epoch, and the offer that comes of it.
//!
//! All of a decision is one turn without a wait: what is noted is read, the engine decides, a face is put aside, the token is
//! signed, and both are written down before anybody else's turn. So two requests at once make one offer, and nothing leaves
//! that is not stored: the object's output gate holds the answer until it is.
//!
//! **What is left of a budget** is not known here: the object holds a few leases and the host the rest. The engine is first
//! asked as if there were enough; where no lease has the face of what it chose, the host is asked for one, and the engine
//! again. When the host has no more to give, or does not answer, the engine decides with what is held: then it knows what is
//! short, and the decision says so of each arm.

use std::convert::Infallible;

use selvedge_budget::holder::{Holder, Shortage};
use selvedge_budget::{Amounts, Minor};
use selvedge_engine::{Campaigns, Engine, Snapshot};
use selvedge_format::campaign::CampaignsV1;
use selvedge_format::decision::{NoOffer, OfferStatus};
use selvedge_format::key;
use selvedge_format::request::BudgetNow;
use selvedge_format::terms::{CampaignTermsV1, MAX_MINOR, OfferV1, TermsV1};
use selvedge_offer::assign;
use selvedge_offer::decide::{Answer, Made, Minting, NoteV1, Said, budgets, counts, expires_ms};
use selvedge_offer::token::{self, BudgetFace};
use selvedge_wire::{RequestBuilder, json};

use crate::api::{Refused, refused};
use crate::budget::Kept;
use crate::config::Offers;
use crate::isolate::{Isolate, hexadecimal};
use crate::offer::{Message, Secrets};
use crate::rank::Ranked;

/// What the engine is told of budgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// As if there were enough: the host may have it.
    Unknown,
    /// What is held here, and nothing else.
    Held,
}

/// What became of a turn.
pub(crate) enum Turn {
    /// Decided.
    Answered(Answer),
    /// Decided just now: to be logged.
    Decided(Answer, Ranked),
    /// No lease has the money; the host may.
    Short,
}

/// With what a turn is taken.
pub(crate) struct Desk<'a> {
    pub(crate) now_ms: i64,
    pub(crate) offers: &'a Offers,
    pub(crate) secrets: &'a Secrets,
    pub(crate) kept: &'a Kept,
    pub(crate) holder: &'a mut Holder,
    pub(crate) left: Left,
}

/// Takes a turn.
///
/// # Errors
/// A question that cannot be used, no campaigns, or what cannot be stored.
pub(crate) fn turn(isolate: &mut Isolate, mut desk: Desk<'_>, message: &Message) -> Result<Turn, Refused> {
    if matches!(isolate.following(desk.now_ms), "killed" | "expired") {
        return Ok(Turn::Answered(Answer::new("", OfferStatus::None(NoOffer::Fallback), None)));
    }
    let terms = isolate.terms.clone();
    let Some(snapshot) = isolate.engine.snapshot().filter(|_| !terms.campaigns.is_empty()) else {
        let message = "no bundle with campaigns is in place: see /v1/status";
        return Err(refused(503, "no-campaigns", message));
    };
    let question = &message.question;
    let document = question.document(desk.now_ms, &message.state);
    let builder = json::builder_of_user(document.as_bytes(), snapshot.program(), &[]);
    let builder = builder.map_err(|error| refused(400, "invalid-offer", error.to_string()))?;
    let budgets = budgets_now(isolate, &terms, &desk);
    let wanted = question.campaign.as_deref().map_or(0, |name| key(name.as_bytes()));
    // A first look says which campaign it is; what is noted about it decides with the second.
    let look = look(&mut isolate.engine, builder.clone().offer(wanted, None, &budgets, &[]));
    let Some(campaign) = look.campaign_of(&terms) else {
        return Ok(Turn::Answered(Answer::new("", OfferStatus::None(NoOffer::NoCampaign), None)));
    };
    let subject = assign::subject(&desk.secrets.secret, &message.user);
    let mut notes = Notes::read(&desk, subject, question.device.as_deref(), look.campaign)?;
    if notes.user.is_of(look.epoch) && !question.preview {
        return Ok(Turn::Answered(Answer::again(desk.now_ms, &terms, campaign, notes.user)));
    }
    let device = notes.device.as_ref().map(|(_, note)| note);
    let counts = counts(declared(isolate), look.campaign, desk.now_ms, &notes.user, device);
    let draw = assign::draw(&desk.secrets.secret, &message.user, &campaign.campaign, look.epoch);
    let draw = (!question.preview).then_some(draw);
    let request = builder.offer(look.campaign, draw, &budgets, &counts).build();
    if question.preview {
        let said = Said::of(isolate.engine.decide(&request));
        let offer = said.offer_of(campaign);
        let made = offer.map(|offer| Made::new(&terms, campaign, offer, None, expires_ms(desk.now_ms, offer)));
        return Ok(Turn::Answered(Answer::new(&campaign.campaign, said.status, made)));
    }
    let decision = isolate.decide(&request);
    let said = Said::of(&decision);
    let mut status = said.status;
    let bundle = isolate.engine.snapshot().map(Snapshot::id).copied().unwrap_or_default();
    let price = isolate.held.as_ref().map_or(0, |held| held.sequence);
    let mut offered = None;
    let mut is_censored = false;
    if let Some(offer) = said.offer_of(campaign) {
        match mint(&mut desk, &terms, campaign, offer, &said, subject, (bundle, price)) {
            Ok(made) => offered = Some(made),
            Err(NotMinted::Short(Shortage::Money)) if desk.left == Left::Unknown => {
                // The use is noted, so that the host is asked for it.
                desk.kept.put_holder(desk.holder)?;
                return Ok(Turn::Short);
            }
            // The money is not there: this was not a choice, and is not logged as one.
            Err(NotMinted::Short(_)) => (status, is_censored) = (OfferStatus::None(NoOffer::NoBudget), true),
            Err(NotMinted::Refused(refused)) => return Err(refused),
        }
    }
    // With what is held alone, the engine may have found nothing that can be paid: that is no choice either.
    is_censored |= status == OfferStatus::None(NoOffer::NoBudget);
    tell(campaign, &subject, &said, status, is_censored, price);
    let ranked = Ranked { request, decision, slate: Vec::new(), degraded: None };
    desk.kept.put_holder(desk.holder)?;
    if !is_censored {
        notes.user.decided(said.epoch, status, offered.as_ref());
        notes.write(&desk, offered.is_some())?;
    }
    Ok(Turn::Decided(Answer::new(&campaign.campaign, status, offered), ranked))
}

/// A line for whoever watches the Worker's log: what the decision records cannot say.
fn tell(
    campaign: &CampaignTermsV1,
    subject: &[u8; 16],
    said: &Said,
    status: OfferStatus,
    is_censored: bool,
    price: u64,
) {
    let (status, reason) = status.names();
    // As JSON, whose writer of fractions is there anyway.
    let line = serde_json::json!({
        "selvedge": "offer",
        "campaign": campaign.campaign,
        "subject": hexadecimal(subject),
        "epoch": said.epoch,
        "arm": said.arm,
        "best": said.best,
        "propensity": said.propensity,
        "status": status,
        "reason": reason,
        "censored": is_censored,
        "price": price,
    });
    worker::console_log!("{line}");
}

fn look(engine: &mut Engine, request: RequestBuilder) -> Said {
    Said::of(engine.decide(&request.build()))
}

/// Prices of the head, or the highest ones where it has not been heard of for long; ascending by key.
fn budgets_now(isolate: &Isolate, terms: &TermsV1, desk: &Desk<'_>) -> Vec<BudgetNow> {
    let held = desk.holder.spendable(desk.now_ms);
    let is_fresh = isolate.is_fresh(desk.now_ms as u64);
    let prices = isolate.held.as_ref().filter(|_| is_fresh).map_or(&[][..], |held| &held.prices);
    let left = |budget: &str| if desk.left == Left::Held { held.get(budget).0 } else { MAX_MINOR };
    let Ok(budgets) = budgets(terms, declared(isolate), prices, |budget| Ok::<_, Infallible>(Some(left(budget))));
    budgets
}

fn declared(isolate: &Isolate) -> Option<&CampaignsV1> {
    isolate.engine.snapshot().and_then(Snapshot::campaigns).map(Campaigns::declared)
}

enum NotMinted {
    Short(Shortage),
    Refused(Refused),
}

/// Puts the face aside and signs.
fn mint(
    desk: &mut Desk<'_>,
    terms: &TermsV1,
    campaign: &CampaignTermsV1,
    offer: &OfferV1,
    said: &Said,
    subject: [u8; 16],
    (bundle, price): ([u8; 32], u64),
) -> Result<Made, NotMinted> {
    let expires_ms = expires_ms(desk.now_ms, offer);
    let faces = token::faces(&campaign.funders, offer.face());
    let reserved = desk.holder.reserve(desk.now_ms, &amounts(&faces), expires_ms).map_err(NotMinted::Short)?;
    let mut jti = [0; 16];
    crate::random(&mut jti);
    let minting = Minting {
        issuer: &desk.offers.issuer,
        audience: &desk.offers.audience,
        subject,
        jti,
        now_ms: desk.now_ms,
        lease: reserved.lease,
        bundle,
        price,
    };
    let claims = minting.claims(terms, campaign, offer, said);
    let token = token::mint(&desk.secrets.key, &claims);
    let token = token.map_err(|error| NotMinted::Refused(refused(503, "not-signed", error.to_string())))?;
    Ok(Made::new(terms, campaign, offer, Some(token), expires_ms))
}

fn amounts(faces: &[BudgetFace]) -> Amounts {
    let parts = faces.iter().filter(|part| part.face > 0);
    // Names and sizes are those of terms, which are checked.
    Amounts::new(parts.map(|part| (part.budget.clone(), Minor(part.face)))).unwrap_or_default()
}

/// What is noted of a user and a campaign, and of the device.
struct Notes {
    user_key: String,
    user: NoteV1,
    device: Option<(String, NoteV1)>,
}

impl Notes {
    fn read(desk: &Desk<'_>, subject: [u8; 16], device: Option<&str>, campaign: u64) -> Result<Self, Refused> {
        let name = |of: char, subject: [u8; 16]| format!("{of}{}{campaign:016x}", hexadecimal(&subject));
        let read = |name: &str| {
            let Some(bytes) = desk.kept.get(name)? else { return Ok(NoteV1::default()) };
            let unreadable = |_| refused(503, "damaged", "what is noted of this user's offers cannot be read");
            postcard::from_bytes(&bytes).map_err(unreadable)
        };
        let user_key = name('u', subject);
        let device = device.map(|device| {
            let key = name('d', assign::subject(&desk.secrets.secret, device));
            let note = read(&key)?;
            Ok::<_, Refused>((key, note))
        });
        Ok(Self { user: read(&user_key)?, user_key, device: device.transpose()? })
    }

    /// Writes it down; an offer counts for caps.
    fn write(mut self, desk: &Desk<'_>, is_offer: bool) -> Result<(), Refused> {
        if is_offer {
            self.user.remember(desk.now_ms);
            if let Some((key, mut note)) = self.device {
                note.remember(desk.now_ms);
                put(desk, &key, &note)?;
            }
        }
        put(desk, &self.user_key, &self.user)
    }
}

fn put(desk: &Desk<'_>, key: &str, note: &NoteV1) -> Result<(), Refused> {
    let bytes = postcard::to_allocvec(note).map_err(|error| refused(503, "not-stored", error.to_string()))?;
    desk.kept.put(key, &bytes)
}
