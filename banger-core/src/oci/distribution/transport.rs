//! One request and its answer: TLS, proxies, time-outs and redirects.
//!
//! Invariants: the environment's proxies are not looked at; a redirect is
//! followed by us, so that credentials stay with the host they are for and
//! nobody is led where the registry must not lead (`peer`).

use std::{collections::HashMap, time::Duration};

use camino::Utf8PathBuf;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::{Certificate, Client, ClientBuilder, NoProxy, Proxy, Response, Url, redirect};
use tokio::sync::Mutex;

use super::{
    super::{AccessError, RegistryOptions, registry_options::without_userinfo, small_file},
    failure::Attempt,
    peer::{may_lead, names_of, same_origin},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Most redirects of one request.
const MAX_REDIRECTS: usize = 5;
/// Largest file of certificate authorities.
const MAX_CA_FILE: u64 = 1 << 22;
/// What is never asked through a proxy.
const THIS_MACHINE: &str = "localhost,127.0.0.0/8,::1";

/// One question.
#[derive(Clone)]
pub(super) struct Question {
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    /// For the host of `url` alone.
    pub(super) authorization: Option<HeaderValue>,
    /// A form, which makes it a POST. One is never sent on by a redirect.
    pub(super) form: Option<String>,
}

impl Question {
    pub(super) fn get(url: Url) -> Self {
        Self {
            url,
            headers: HeaderMap::new(),
            authorization: None,
            form: None,
        }
    }
}

/// HTTP clients, made when they are needed.
pub(super) struct Transport {
    options: RegistryOptions,
    /// How what is asked for is called in messages.
    reference: String,
    /// By the file of certificate authorities they trust besides the system's.
    clients: Mutex<HashMap<Option<Utf8PathBuf>, Client>>,
}

impl Transport {
    pub(super) fn new(options: RegistryOptions, reference: String) -> Self {
        Self {
            options,
            reference,
            clients: Mutex::default(),
        }
    }

    pub(super) const fn options(&self) -> &RegistryOptions {
        &self.options
    }

    pub(super) fn reference(&self) -> &str {
        &self.reference
    }

    /// Asks, and follows redirects. Any status is an answer.
    pub(super) async fn ask(&self, question: Question) -> Result<Response, Attempt> {
        let mut question = question;
        for _ in 0..=MAX_REDIRECTS {
            let response = self.ask_once(&question).await?;
            let Some(next) = self.redirect(&question, &response)? else {
                return Ok(response);
            };
            if !same_origin(&question.url, &next) {
                question.authorization = None;
            }
            question.url = next;
        }
        let problem = format!("the server redirects more than {MAX_REDIRECTS} times");
        Err(Attempt::malformed(&self.reference, problem))
    }

    async fn ask_once(&self, question: &Question) -> Result<Response, Attempt> {
        let client = self.client(&question.url).await?;
        let method = if question.form.is_some() {
            Method::POST
        } else {
            Method::GET
        };
        let mut request = client.request(method, question.url.clone());
        request = request.headers(question.headers.clone());
        if let Some(authorization) = &question.authorization {
            request = request.header(header::AUTHORIZATION, authorization.clone());
        }
        if let Some(form) = &question.form {
            let kind = "application/x-www-form-urlencoded";
            request = request
                .header(header::CONTENT_TYPE, kind)
                .body(form.clone());
        }
        let sent = request.send().await;
        sent.map_err(|error| Attempt::of_connection(&self.reference, error))
    }

    /// Where an answer sends us, if it does.
    fn redirect(&self, question: &Question, response: &Response) -> Result<Option<Url>, Attempt> {
        use StatusCode as S;
        let status = response.status();
        let is_redirect = matches!(
            status,
            S::MOVED_PERMANENTLY
                | S::FOUND
                | S::SEE_OTHER
                | S::TEMPORARY_REDIRECT
                | S::PERMANENT_REDIRECT
        );
        if !is_redirect {
            return Ok(None);
        }
        let refused = |why: &str| {
            let problem = format!("the server redirects to somewhere {why}");
            Attempt::malformed(&self.reference, problem)
        };
        if question.form.is_some() {
            return Err(refused("where no secret is sent on to"));
        }
        let location = response.headers().get(header::LOCATION);
        let location = location.and_then(|value| value.to_str().ok());
        let next = location.and_then(|text| question.url.join(text).ok());
        let mut next = next.ok_or_else(|| refused("that is not a URL"))?;
        may_lead(&question.url, &next).map_err(refused)?;
        // what stands there would be sent as credentials
        let cleared = next.set_username("").and_then(|()| next.set_password(None));
        cleared.map_err(|()| refused("that is not a URL"))?;
        Ok(Some(next))
    }

    async fn client(&self, url: &Url) -> Result<Client, Attempt> {
        let names = names_of(url);
        let mut special = names.iter().filter_map(|name| self.options.hosts.get(name));
        let ca_file = special.find_map(|special| special.ca_file.clone());
        let mut clients = self.clients.lock().await;
        if let Some(client) = clients.get(&ca_file) {
            return Ok(client.clone());
        }
        let made = self.make(ca_file.clone()).await;
        let client = made.map_err(|error| Attempt::access(&self.reference, error))?;
        clients.insert(ca_file, client.clone());
        Ok(client)
    }

    async fn make(&self, ca_file: Option<Utf8PathBuf>) -> Result<Client, AccessError> {
        install_tls_provider();
        let mut builder = Client::builder()
            .user_agent(concat!("banger/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(self.options.idle_timeout)
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy();
        builder = self.with_proxies(builder)?;
        if let Some(path) = ca_file {
            let certificates = certificates(path).await?;
            builder = builder.tls_certs_merge(certificates);
        }
        builder.build().map_err(|error| AccessError::Client {
            problem: super::failure::reasons(&error),
        })
    }

    fn with_proxies(&self, builder: ClientBuilder) -> Result<ClientBuilder, AccessError> {
        let proxies = &self.options.proxies;
        let mut builder = builder;
        for (proxy, is_https) in [(&proxies.http, false), (&proxies.https, true)] {
            if let Some(url) = proxy {
                builder = builder.proxy(self.proxy(url, is_https)?);
            }
        }
        Ok(builder)
    }

    fn proxy(&self, url: &str, is_https: bool) -> Result<Proxy, AccessError> {
        let invalid = |problem: &str| AccessError::Proxy {
            proxy: without_userinfo(url),
            problem: problem.to_owned(),
        };
        let parsed = Url::parse(url).map_err(|_| invalid("it is not a URL"))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(invalid("it is neither http:// nor https://"));
        }
        let made = if is_https {
            Proxy::https(parsed)
        } else {
            Proxy::http(parsed)
        };
        let made = made.map_err(|_| invalid("it is not a URL"))?;
        let direct = format!("{THIS_MACHINE},{}", self.options.proxies.no_proxy);
        Ok(made.no_proxy(NoProxy::from_string(&direct)))
    }
}

async fn certificates(path: Utf8PathBuf) -> Result<Vec<Certificate>, AccessError> {
    let text = small_file::read(path.clone(), MAX_CA_FILE).await?;
    match Certificate::from_pem_bundle(&text) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(AccessError::InvalidFile {
            path,
            problem: "it holds no PEM certificate".to_owned(),
        }),
    }
}

/// The HTTP client panics without a TLS provider, even for plain HTTP.
fn install_tls_provider() {
    #[cfg(feature = "tls-ring")]
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // another thread may have been faster, which is as good
        drop(rustls::crypto::ring::default_provider().install_default());
    }
}
