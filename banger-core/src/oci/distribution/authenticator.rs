//! Who we are, for one repository of one registry.
//!
//! Invariants: credentials are looked up once, when the registry asks for
//! them; parallel requests share one token and one renewal; a token service is
//! told a secret only where `peer` allows it.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, StatusCode};
use reqwest::{Response, Url};
use tokio::{sync::Mutex, time::Instant};

use super::{
    super::{SourceError, credentials::Credential},
    body,
    challenge::{Challenge, TokenService, challenge},
    endpoint::within_deadline,
    failure::Attempt,
    peer::{may_lead, may_tell},
    token::{MAX_TOKEN, Token, refresh_form, token_url},
    transport::{Question, Transport},
};

/// Signs requests.
pub(super) struct Authenticator {
    transport: Arc<Transport>,
    /// `…/v2/`.
    root: Url,
    /// `host[:port]`, as credentials name it.
    registry: String,
    repository: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Whether the registry was asked for its challenge.
    was_asked: bool,
    /// What it wants, if anything.
    challenge: Option<Challenge>,
    credential: Option<Credential>,
    token: Option<Token>,
}

impl Authenticator {
    pub(super) fn new(
        transport: Arc<Transport>,
        root: Url,
        registry: String,
        repository: String,
    ) -> Self {
        Self {
            transport,
            root,
            registry,
            repository,
            state: Mutex::default(),
        }
    }

    /// What to send along with a request, if anything.
    pub(super) async fn authorization(&self) -> Result<Option<HeaderValue>, Attempt> {
        let mut state = self.state.lock().await;
        if !state.was_asked {
            state.challenge = self.ask_challenge().await?;
            state.was_asked = true;
        }
        self.header(&mut state).await
    }

    /// The same after the registry refused `used` and sent `challenge`. Answers
    /// `used` again when there is nothing better.
    pub(super) async fn renewed(
        &self,
        used: Option<&HeaderValue>,
        challenge: Option<Challenge>,
    ) -> Result<Option<HeaderValue>, Attempt> {
        let mut state = self.state.lock().await;
        let current = state.token.as_ref().map(|token| &token.header);
        // else another request has renewed it meanwhile
        if current == used {
            state.token = None;
            state.challenge = challenge.or(state.challenge.take());
        }
        self.header(&mut state).await
    }

    /// The reason of a refusal, which the registry's own words may follow.
    pub(super) async fn refusal(&self) -> &'static str {
        refusal(self.state.lock().await.credential.as_ref())
    }

    /// Asks the registry's root, as all clients do: some repositories answer
    /// strangers as if they were not there.
    async fn ask_challenge(&self) -> Result<Option<Challenge>, Attempt> {
        let asked = self.transport.ask(Question::get(self.root.clone()));
        let response = within_deadline(self.transport.reference(), asked).await?;
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED {
            let asked = challenge(response.headers());
            return Ok(asked.map(Challenge::without_scope));
        }
        let is_trouble = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
        if is_trouble {
            return Err(Attempt::of_answer(self.transport.reference(), response).await);
        }
        Ok(None)
    }

    async fn header(&self, state: &mut State) -> Result<Option<HeaderValue>, Attempt> {
        let Some(challenge) = &state.challenge else {
            return Ok(None);
        };
        if let Some(token) = &state.token
            && token.is_good(Instant::now())
        {
            return Ok(Some(token.header.clone()));
        }
        let challenge = challenge.clone();
        let credential = match state.credential.take() {
            Some(credential) => credential,
            None => self.find_credential().await?,
        };
        let credential = state.credential.insert(credential);
        let token = match challenge {
            // some registries let strangers read, and ask at their root alone
            Challenge::Basic if credential.is_anonymous() => return Ok(None),
            Challenge::Basic => self.basic(credential)?,
            Challenge::Bearer(service) => self.fetch(&service, credential).await?,
        };
        Ok(Some(state.token.insert(token).header.clone()))
    }

    async fn find_credential(&self) -> Result<Credential, Attempt> {
        let source = &self.transport.options().credentials;
        let found = source.find(&self.registry, &self.repository).await;
        found.map_err(|error| Attempt::access(self.transport.reference(), error))
    }

    fn basic(&self, credential: &Credential) -> Result<Token, Attempt> {
        match credential {
            Credential::Password { user, secret } => {
                let pair = STANDARD.encode(format!("{user}:{}", secret.expose()));
                self.usable(Token::of_header(&format!("Basic {pair}")))
            }
            Credential::Bearer(secret) => self.usable(Token::lasting(secret.expose())),
            Credential::Identity(_) => Err(self.unauthorised(
                "the registry wants a user and a password, and there is an identity token alone",
            )),
            Credential::Anonymous => Err(self.unauthorised(refusal(None))),
        }
    }

    async fn fetch(
        &self,
        service: &TokenService,
        credential: &Credential,
    ) -> Result<Token, Attempt> {
        if let Credential::Bearer(secret) = credential {
            return self.usable(Token::lasting(secret.expose()));
        }
        self.check_realm(service, credential)?;
        let asked = Instant::now();
        let fetched = self.fetch_answer(self.question(service, credential)?, credential);
        let answer = within_deadline(self.transport.reference(), fetched).await?;
        self.usable(Token::parse(&answer, asked))
    }

    fn check_realm(&self, service: &TokenService, credential: &Credential) -> Result<(), Attempt> {
        let allowed = if credential.is_anonymous() {
            may_lead(&self.root, &service.realm)
        } else {
            may_tell(&self.root, &service.realm)
        };
        allowed.map_err(|why| {
            self.unauthorised(&format!(
                "the registry sends to a token service at a place {why}"
            ))
        })
    }

    fn question(
        &self,
        service: &TokenService,
        credential: &Credential,
    ) -> Result<Question, Attempt> {
        let own_scope = format!("repository:{}:pull", self.repository);
        let scope = service.scope.as_deref().unwrap_or(&own_scope);
        Ok(match credential {
            Credential::Identity(secret) => Question {
                form: Some(refresh_form(service, scope, secret.expose())),
                ..Question::get(service.realm.clone())
            },
            Credential::Password { user, .. } => Question {
                authorization: Some(self.basic(credential)?.header),
                ..Question::get(token_url(service, scope, Some(user)))
            },
            Credential::Anonymous | Credential::Bearer(_) => {
                Question::get(token_url(service, scope, None))
            }
        })
    }

    async fn fetch_answer(
        &self,
        question: Question,
        credential: &Credential,
    ) -> Result<Vec<u8>, Attempt> {
        let reference = self.transport.reference();
        let response = self.transport.ask(question).await?;
        if !response.status().is_success() {
            return Err(self.no_token(response, credential).await);
        }
        let body = body::whole(response, MAX_TOKEN).await;
        let body = body.map_err(|error| Attempt::of_connection(reference, error))?;
        body.ok_or_else(|| {
            Attempt::permanent(SourceError::Limit {
                reference: reference.to_owned(),
                problem: format!("its token service sends more than {MAX_TOKEN} bytes"),
            })
        })
    }

    /// What a token service's refusal means.
    async fn no_token(&self, response: Response, credential: &Credential) -> Attempt {
        let status = response.status();
        let attempt = Attempt::of_answer(self.transport.reference(), response).await;
        let refused = [
            StatusCode::BAD_REQUEST,
            StatusCode::UNAUTHORIZED,
            StatusCode::FORBIDDEN,
        ];
        match &attempt.error {
            SourceError::Unauthorised { reason, .. } | SourceError::Unavailable { reason, .. }
                if refused.contains(&status) =>
            {
                self.unauthorised(&format!("{}: {reason}", refusal(Some(credential))))
            }
            SourceError::NotFound { reference } => Attempt::permanent(SourceError::Unavailable {
                reference: reference.clone(),
                reason: format!("its token service answered status {}", status.as_u16()),
            }),
            _ => attempt,
        }
    }

    fn usable(&self, token: Result<Token, &'static str>) -> Result<Token, Attempt> {
        token.map_err(|problem| Attempt::malformed(self.transport.reference(), problem))
    }

    fn unauthorised(&self, reason: &str) -> Attempt {
        Attempt::unauthorised(self.transport.reference(), reason)
    }
}

const fn refusal(credential: Option<&Credential>) -> &'static str {
    match credential {
        None | Some(Credential::Anonymous) => {
            "the registry refuses anonymous access, or the repository does not exist"
        }
        Some(_) => "the registry refuses the credentials given",
    }
}
