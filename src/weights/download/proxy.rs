//! The proxy that the environment names for a URL, as curl and Python read it.

use super::error::DownloadError;
use ureq::http::Uri;
use ureq::Proxy;

/// `https_proxy` or `http_proxy` by the URL's scheme, else `all_proxy`; lower case first. `None` where there is none or
/// `no_proxy` excludes the host.
///
/// # Errors
/// [`DownloadError::Proxy`] for a variable that names no proxy.
pub(super) fn for_url(
    url: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Proxy>, DownloadError> {
    let set =
        |name: &'static str| variable(name).filter(|value| !value.is_empty()).map(|value| (name, value));
    let Ok(uri) = url.parse::<Uri>() else { return Ok(None) };
    let host = uri.host().unwrap_or_default();
    if let Some((_, list)) = set("no_proxy").or_else(|| set("NO_PROXY")) {
        if list.split(',').any(|entry| excludes(entry.trim(), host)) {
            return Ok(None);
        }
    }
    let names = match uri.scheme_str() {
        Some("https") => ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
        _ => ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"],
    };
    let Some((variable, value)) = names.into_iter().find_map(set) else { return Ok(None) };
    let proxy = Proxy::new(&value);
    // A proxy's password stays out of messages.
    let shown = || value.rsplit('@').next().unwrap_or_default().to_string();
    proxy.map(Some).map_err(|_| DownloadError::Proxy { variable, value: shown() })
}

/// One entry of `no_proxy`: `*`, a host, or a domain (with or without a leading dot) that covers its hosts.
fn excludes(entry: &str, host: &str) -> bool {
    let domain = entry.trim_start_matches("*.").trim_start_matches('.');
    if entry == "*" {
        return true;
    }
    let (host, domain) = (host.to_ascii_lowercase(), domain.to_ascii_lowercase());
    let before = host.strip_suffix(&domain);
    !domain.is_empty() && before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(url: &str, set: &[(&str, &str)]) -> Option<String> {
        let variable =
            |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string());
        for_url(url, variable).unwrap().map(|proxy| proxy.host().to_string())
    }

    #[test]
    fn the_scheme_chooses_the_variable_and_lower_case_wins() {
        let all = [
            ("http_proxy", "a:1"),
            ("HTTP_PROXY", "b:1"),
            ("HTTPS_PROXY", "http://c:1"),
            ("ALL_PROXY", "socks5://d:1"),
        ];
        assert_eq!(chosen("http://x.org/f", &all).as_deref(), Some("a"));
        assert_eq!(chosen("http://x.org/f", &all[1..]).as_deref(), Some("b"));
        assert_eq!(chosen("https://x.org/f", &all).as_deref(), Some("c"));
        assert_eq!(chosen("https://x.org/f", &all[3..]).as_deref(), Some("d"));
        assert_eq!(chosen("https://x.org/f", &[("HTTP_PROXY", "b:1")]), None, "of another scheme");
        assert_eq!(chosen("https://x.org/f", &[("HTTPS_PROXY", "")]), None);
    }

    #[test]
    fn no_proxy_excludes_hosts_and_the_hosts_of_a_domain() {
        for (list, host, excluded) in [
            ("x.org", "x.org", true),
            ("x.org", "files.X.org", true),
            (".x.org", "files.x.org", true),
            ("*.x.org", "files.x.org", true),
            ("a.com, x.org", "x.org", true),
            ("x.org", "notx.org", false),
            ("x.org", "x.org.evil.com", false),
            ("*", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.1", true),
            (",", "x.org", false),
        ] {
            let proxy = chosen(&format!("https://{host}/f"), &[("no_proxy", list), ("https_proxy", "p:1")]);
            assert_eq!(proxy.is_none(), excluded, "{list} {host}");
        }
    }

    #[test]
    fn a_variable_that_names_no_proxy_is_told_without_its_password() {
        let variable = |name: &str| (name == "HTTPS_PROXY").then(|| "gopher://user:secret@host".to_string());
        let error = for_url("https://x.org/f", variable).unwrap_err().to_string();
        assert!(error.contains("HTTPS_PROXY=\"host\"") && !error.contains("secret"), "{error}");
    }
}
