//! Licences that are bound to tokens: which tokens are there, and by whose word this server serves
//! their licences.
//!
//! What is known of a token is told to the keyring; nothing is asked of one here. A licence on a
//! token always lies in the folder as well: the seats that are held of it must be known at a start,
//! before the first token has answered, and a licence that does not fit on its token must lie
//! somewhere. The copy is worth nothing without the token.

use std::collections::BTreeMap;

use licence_core::delegation::Delegation;
use licence_core::holder::{Holder, TokenKey};
use licence_core::key::{KeyNo, KeySeries, Obstacle, ProtectionKey};
use licence_core::licence_file::Licence;
use licence_core::seal::PublicKey;
use licence_core::time::Utc;

use super::{InstallError, Keyring};

/// Words of tokens that are kept: some for each token that was ever seen since the start. More than
/// these is no server with tokens but an endless row of them, and the oldest go.
const WORDS_MAX: usize = 1000;

/// Tokens that are known at one time: more than a computer has ports.
const TOKENS_MAX: usize = 64;

/// How a token that is known stands. One that is not known is absent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Presence {
    /// It has just proved that it is there.
    Present,
    /// It has not answered once, and is about to be asked again.
    InDoubt,
}

/// A token that is plugged in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Plugged {
    /// Its key.
    pub key: TokenKey,
    /// For people.
    pub name: String,
    /// How it stands.
    pub presence: Presence,
    /// Numbers of the keys whose licences are bound to it, in order; none of a blank.
    pub keys: Vec<KeyNo>,
}

impl Plugged {
    /// Whether it is a blank: there, and no licence is bound to it.
    pub fn is_blank(&self) -> bool {
        self.presence == Presence::Present && self.keys.is_empty()
    }
}

/// A licence that is bound to a token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bound {
    /// The token.
    pub token: TokenKey,
    /// The licence document.
    pub document: String,
    /// Whether it carries an object key that does not open here: it was made for another server.
    pub is_object_key_closed: bool,
}

#[derive(Clone, Debug)]
struct Seen {
    name: String,
    presence: Presence,
}

/// The word of a token about one licence, verified.
#[derive(Clone, Debug)]
pub struct Word {
    token: TokenKey,
    subject: String,
    text: String,
    exp: i64,
}

impl Word {
    /// A delegation that this token has signed for `server` and that counts at this moment; nothing
    /// when it is not that.
    pub fn verified(text: String, token: TokenKey, server: &PublicKey, now: Utc) -> Option<Self> {
        let word = Delegation::verify(&text, &token).ok()?;
        let is_sound = word.allows(&word.sub, server, now);
        let Delegation { sub, exp, .. } = word;
        is_sound.then_some(Self { token, subject: sub, text, exp })
    }
}

/// What is known of tokens.
#[derive(Clone, Debug, Default)]
pub(super) struct Tokens {
    seen: BTreeMap<TokenKey, Seen>,
    /// By `jti` of the licence.
    words: BTreeMap<String, Word>,
    /// Whether the first look at the tokens is still to come: until then all are in doubt.
    is_awaited: bool,
}

impl Tokens {
    fn obstacle(&self, token: &TokenKey) -> Option<Obstacle> {
        match self.seen.get(token).map(|seen| seen.presence) {
            Some(Presence::Present) => None,
            Some(Presence::InDoubt) => Some(Obstacle::TokenInDoubt),
            None if self.is_awaited => Some(Obstacle::TokenInDoubt),
            None => Some(Obstacle::TokenAbsent),
        }
    }
}

impl Keyring {
    /// Tokens will be looked for: licences that are bound to one wait for the first look.
    #[must_use]
    pub const fn with_tokens_awaited(mut self) -> Self {
        self.tokens.is_awaited = true;
        self
    }

    /// Takes all tokens for plugged in: for who looks at the licences from outside, while the running
    /// server has the tokens.
    #[must_use]
    pub fn with_tokens_presumed(mut self) -> Self {
        let all = self.installed.values().filter_map(|installed| installed.licence.holder.token());
        let seen =
            all.map(|token| (*token, Seen { name: String::new(), presence: Presence::Present }));
        self.tokens.seen = seen.collect();
        self
    }

    /// What keeps a licence from working here, its term and other keys left out.
    pub(super) fn holder_obstacle(&self, licence: &Licence) -> Option<Obstacle> {
        match &licence.holder {
            Holder::Server(key) => (*key != self.identity).then_some(Obstacle::BoundElsewhere),
            Holder::Token(token) => self.tokens.obstacle(token),
        }
    }

    /// Whether a licence may ever work on this server: it is bound to it, or to a token, which may be
    /// plugged in here.
    pub(super) fn is_for_here(&self, licence: &Licence) -> bool {
        match &licence.holder {
            Holder::Server(key) => *key == self.identity,
            Holder::Token(_) => true,
        }
    }

    /// Takes down how a token stands, nothing for one that is gone; the keys for which that makes a
    /// difference.
    pub fn set_token(
        &mut self,
        token: TokenKey,
        standing: Option<(String, Presence)>,
    ) -> Vec<ProtectionKey> {
        let before = self.tokens.obstacle(&token);
        match standing {
            Some((name, presence)) => {
                if !self.tokens.seen.contains_key(&token) && self.tokens.seen.len() >= TOKENS_MAX {
                    log::warn!("more than {TOKENS_MAX} tokens; {} is left out", token.short_id());
                    return Vec::new();
                }
                self.tokens.seen.insert(token, Seen { name, presence });
            }
            None => {
                self.tokens.seen.remove(&token);
            }
        }
        if self.tokens.obstacle(&token) == before {
            return Vec::new();
        }
        self.changed(|other| *other == token)
    }

    /// Puts a token that is known in doubt; the keys for which that makes a difference.
    pub fn doubt_token(&mut self, token: TokenKey) -> Vec<ProtectionKey> {
        match self.tokens.seen.get(&token).map(|seen| seen.name.clone()) {
            Some(name) => self.set_token(token, Some((name, Presence::InDoubt))),
            None => Vec::new(),
        }
    }

    /// The first look at the tokens is done: who was not found is absent. The keys for which that
    /// makes a difference.
    pub fn tokens_looked_for(&mut self) -> Vec<ProtectionKey> {
        if !std::mem::take(&mut self.tokens.is_awaited) {
            return Vec::new();
        }
        let found: Vec<TokenKey> = self.tokens.seen.keys().copied().collect();
        self.changed(|token| !found.contains(token))
    }

    fn changed(&self, is_meant: impl Fn(&TokenKey) -> bool) -> Vec<ProtectionKey> {
        self.installed
            .values()
            .filter(|installed| installed.licence.holder.token().is_some_and(&is_meant))
            .map(|installed| self.protection_key(installed))
            .collect()
    }

    /// [`Self::install`] of a licence that lay on a token.
    ///
    /// # Errors
    ///
    /// See [`InstallError`]; [`InstallError::BoundElsewhere`] when it is not bound to that token.
    pub fn install_from_token(
        &mut self,
        token: TokenKey,
        document: &str,
        utc: Utc,
    ) -> Result<ProtectionKey, InstallError> {
        let licence = self.verify(document, None)?;
        if licence.holder.token() != Some(&token) {
            return Err(InstallError::BoundElsewhere(licence.fields().key_no));
        }
        self.install(document, None, utc)
    }

    /// Ids of the activations whose licences are bound to a token: what it has to vouch for.
    pub fn activations_on(&self, token: &TokenKey) -> Vec<String> {
        self.installed
            .values()
            .filter(|installed| installed.licence.holder.token() == Some(token))
            .map(|installed| installed.licence.claims.jti.clone())
            .collect()
    }

    /// Keeps the words of tokens in place of what they said before about the same licences.
    pub fn keep_words(&mut self, words: Vec<Word>, now: Utc) {
        let now_secs = now.unix_seconds();
        self.tokens.words.retain(|_, word| word.exp > now_secs);
        for word in words {
            self.tokens.words.insert(word.subject.clone(), word);
        }
        while self.tokens.words.len() > WORDS_MAX {
            let oldest = self.tokens.words.iter().min_by_key(|(_, word)| word.exp);
            let Some(subject) = oldest.map(|(subject, _)| subject.clone()) else { break };
            self.tokens.words.remove(&subject);
        }
    }

    /// The word of its token about a licence, as long as it counts. It counts for a while after the
    /// token has gone: a component then believes the server and hears from it that the token is
    /// missing, instead of hearing nothing that it could believe.
    fn word(&self, licence: &Licence, now: Utc) -> Option<&Word> {
        let token = licence.holder.token()?;
        let word = self.tokens.words.get(&licence.claims.jti)?;
        (word.token == *token && word.exp > now.unix_seconds()).then_some(word)
    }

    /// The proof of this server to a component: the licence documents of a series that are bound to
    /// it or to a token that vouches for it, and the words of those tokens.
    pub fn proof(&self, series: KeySeries, now: Utc) -> (Vec<String>, Vec<String>) {
        let (mut documents, mut words) = (Vec::new(), Vec::new());
        for installed in self.installed.values().filter(|installed| installed.is_workable) {
            let licence = &installed.licence;
            if licence.fields().key_id != series {
                continue;
            }
            if licence.holder.token().is_some() {
                let Some(word) = self.word(licence, now) else { continue };
                words.push(word.text.clone());
            }
            documents.push(licence.document.clone());
        }
        (documents, words)
    }

    /// A key of the series that cannot be shown to a component because its token has not vouched for
    /// this server, and what keeps it from working.
    pub fn on_missing_token(&self, series: KeySeries) -> Option<(KeyNo, Obstacle)> {
        self.installed.values().find_map(|installed| {
            let (fields, licence) = (installed.licence.fields(), &installed.licence);
            let token = licence.holder.token().filter(|_| fields.key_id == series)?;
            let obstacle = self.tokens.obstacle(token).unwrap_or(Obstacle::TokenInDoubt);
            Some((fields.key_no, obstacle))
        })
    }

    /// The keys that are bound to tokens: series, number, and whether the token is there or, after
    /// one failure, about to be asked again.
    pub fn keys_on_tokens(&self) -> Vec<(KeySeries, KeyNo, bool)> {
        let on_token = |installed: &super::Installed| {
            let token = installed.licence.holder.token()?;
            let is_there = self.tokens.obstacle(token) != Some(Obstacle::TokenAbsent);
            let fields = installed.licence.fields();
            Some((fields.key_id, fields.key_no, is_there))
        };
        self.installed.values().filter_map(on_token).collect()
    }

    /// The tokens that are plugged in, by their keys.
    pub fn plugged(&self) -> Vec<Plugged> {
        let plugged = |(key, seen): (&TokenKey, &Seen)| Plugged {
            key: *key,
            name: seen.name.clone(),
            presence: seen.presence,
            keys: self
                .installed
                .iter()
                .filter(|(_, installed)| installed.licence.holder.token() == Some(key))
                .map(|(key_no, _)| *key_no)
                .collect(),
        };
        self.tokens.seen.iter().map(plugged).collect()
    }

    /// The licence of a key, when it is bound to a token.
    pub fn bound(&self, key_no: KeyNo) -> Option<Bound> {
        let installed = self.installed.get(&key_no)?;
        let licence = &installed.licence;
        Some(Bound {
            token: *licence.holder.token()?,
            document: licence.document.clone(),
            is_object_key_closed: self.wrap_key.is_some()
                && licence.claims.object_key.is_some()
                && installed.object_key.is_none(),
        })
    }

    /// Whether a licence on a token is the one that is here, with an object key that opens here
    /// instead of one that does not: worth taking although it is not later.
    pub(super) fn brings_object_key(&self, document: &str) -> bool {
        let Ok((key_no, issued)) = Licence::peek_issue(document) else { return false };
        self.installed.get(&key_no).is_some_and(|installed| {
            installed.licence.holder.token().is_some()
                && installed.object_key.is_none()
                && installed.licence.claims.iat == issued
                && installed.licence.document != document.trim_ascii()
        })
    }
}
