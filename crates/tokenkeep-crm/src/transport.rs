//! HTTP clients: no redirect, no retry of their own, nothing from the environment.

use std::{sync::OnceLock, time::Duration};

use reqwest::{Client, ClientBuilder, Proxy, header::HeaderValue, redirect};
use url::Url;

use crate::CrmError;

/// What HTTP clients are made from.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    /// May hold a password.
    pub(crate) proxy: Option<String>,
    pub(crate) user_agent: String,
}

/// One client for each way to a server.
pub(crate) struct Transport {
    settings: Settings,
    proxy: Option<Proxy>,
    /// Plain http, to this machine only. Works where no certificates are installed.
    plain: Client,
    /// Https without a proxy. Made when first needed: that is when certificates are read.
    direct: OnceLock<Client>,
    /// Https through the proxy.
    proxied: OnceLock<Client>,
}

impl Transport {
    pub(crate) fn new(settings: Settings) -> Result<Self, CrmError> {
        if HeaderValue::from_str(&settings.user_agent).is_err() {
            return Err(CrmError::invalid("the user agent has characters that no header can have"));
        }
        let proxy = settings.proxy.as_deref().map(read_proxy).transpose()?;
        let plain = finish(settings.common().tls_certs_only([]))?;
        Ok(Self { settings, proxy, plain, direct: OnceLock::new(), proxied: OnceLock::new() })
    }

    /// The client for a URL that was [checked](crate::path::Target::at): https, or http on
    /// loopback. No proxy gets to see what goes to this machine.
    pub(crate) fn client(&self, url: &Url, loopback: bool) -> Result<&Client, CrmError> {
        if loopback && url.scheme() == "http" {
            return Ok(&self.plain);
        }
        let proxy = self.proxy.as_ref().filter(|_| !loopback);
        let slot = if proxy.is_some() { &self.proxied } else { &self.direct };
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        let mut builder = self.settings.common().https_only(true);
        if let Some(proxy) = proxy {
            builder = builder.proxy(proxy.clone());
        }
        let client = finish(builder)?;
        Ok(slot.get_or_init(|| client))
    }
}

impl Settings {
    /// What all clients have in common.
    fn common(&self) -> ClientBuilder {
        // `localhost` is this machine, whatever a resolver says.
        let here = [([127, 0, 0, 1], 0).into(), ([0_u16, 0, 0, 0, 0, 0, 0, 1], 0).into()];
        Client::builder()
            .timeout(self.timeout)
            .connect_timeout(self.connect_timeout)
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .resolve_to_addrs("localhost", &here)
            .user_agent(self.user_agent.as_str())
    }
}

fn finish(builder: ClientBuilder) -> Result<Client, CrmError> {
    builder.build().map_err(|error| {
        CrmError::configuration("the HTTPS client cannot be made", error)
            .with_hint("look whether the system has root certificates: ca-certificates on Debian")
    })
}

fn read_proxy(url: &str) -> Result<Proxy, CrmError> {
    let invalid = || {
        CrmError::invalid("the proxy's URL is not one")
            .with_hint("write it like http://proxy.example.com:3128")
    };
    let url = Url::parse(url).map_err(|_its_text| invalid())?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(invalid());
    }
    Proxy::all(url).map_err(|_its_text| invalid())
}
