//! What lies around a fetch: proxies, certificates, folders that cannot be written, full disks.

use super::{fails, run, small, succeeds, Home, FILE, NAME, SMALL};
use crate::web::{file, status, with_tls, Identity, Server};
use std::io::{Read, Write};
use std::process::Command;

#[test]
fn proxies_of_the_environment_are_used_and_no_proxy_is_heeded() {
    let home = Home::new();
    let proxy = Server::start(|request, stream| {
        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            asked.push(byte[0]);
        }
        assert!(asked.starts_with(format!("GET /models/{FILE} ").as_bytes()));
        file(request, stream, SMALL, "\"1\"", SMALL.len())
    });
    // A host that only the proxy knows.
    let mirror = "http://weights.invalid/models";
    let mut fetch = home.densenet(mirror, &["weights", "fetch", NAME]);
    succeeds(fetch.env("http_proxy", proxy.url("")).env("HTTPS_PROXY", "http://wrong.invalid"));
    let requests = proxy.requests();
    assert_eq!((requests[0].method.as_str(), requests[0].path.as_str()), ("CONNECT", "weights.invalid:80"));
    assert_eq!(requests.len(), 1);

    let home = Home::new();
    let refusing = Server::start(|_, stream| status(stream, "407 Proxy Authentication Required", &[]));
    let mut fetch = home.densenet(mirror, &["weights", "fetch", NAME]);
    let error = fails(fetch.env("HTTP_PROXY", refusing.url("")));
    assert!(error.contains("proxy refuses"), "{error}");
    let error = fails(home.densenet(mirror, &["weights", "fetch", NAME]).env("HTTP_PROXY", "gopher://x"));
    assert!(error.contains("HTTP_PROXY") && error.contains("names no proxy"), "{error}");

    let server = small();
    let mut fetch = home.densenet(&server.url(""), &["weights", "fetch", NAME]);
    succeeds(fetch.env("HTTP_PROXY", refusing.url("")).env("NO_PROXY", "example.com,127.0.0.1"));
    assert_eq!((server.requests().len(), refusing.requests().len()), (1, 1));
}

#[test]
fn https_trusts_the_systems_authorities_and_no_expired_or_unknown_certificate() {
    let (home, server) = (Home::new(), small());
    let (good, expired) = (Identity::new(false), Identity::new(true));
    let fetch = |identity: &Identity, trusted: &Identity| {
        let authorities = home.0.path().join("authorities.pem");
        std::fs::write(&authorities, trusted.authority()).unwrap();
        let mut fetch = home.densenet(&with_tls(&server, identity), &["weights", "fetch", NAME]);
        // What OpenSSL's variables name takes the place of the system's own.
        fetch.env("SSL_CERT_FILE", authorities).env_remove("SSL_CERT_DIR");
        fetch
    };
    let error = fails(&mut fetch(&expired, &expired));
    assert!(error.contains("no secure connection") && error.contains("expired"), "{error}");
    let error = fails(&mut fetch(&good, &expired));
    assert!(error.contains("no secure connection") && error.contains("UnknownIssuer"), "{error}");
    assert_eq!(server.requests().len(), 0);
    succeeds(&mut fetch(&good, &good));
    assert!(std::fs::read(home.path()).unwrap() == SMALL);
    assert_eq!(server.requests().len(), 1);
}

/// Root may write to read-only folders; the command's process may not, for this test.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn without_privileges(command: &mut Command) -> &mut Command {
    use std::os::unix::process::CommandExt;
    const CAP_DAC_OVERRIDE: libc::c_ulong = 1;
    // SAFETY: between fork and exec only prctl is called, which is async-signal-safe; it changes the child alone.
    unsafe {
        command.pre_exec(|| {
            // Fails for users who are not root, and they need it not.
            libc::prctl(libc::PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0);
            Ok(())
        })
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_read_only_cache_serves_what_it_has_and_is_named_where_something_is_missing() {
    use std::os::unix::fs::PermissionsExt;
    let (home, server) = (Home::new(), small());
    let folder = home.checkpoints();
    let writable = |yes| {
        let mode = if yes { 0o755 } else { 0o555 };
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    std::fs::create_dir_all(&folder).unwrap();
    writable(false);
    let error = fails(without_privileges(&mut home.densenet(&server.url(""), &["weights", "fetch", NAME])));
    assert!(error.contains(folder.to_str().unwrap()) && error.contains("TORCH_HOME"), "{error}");
    assert!(error.contains("ermission denied") && server.requests().is_empty(), "{error}");
    writable(true);
    home.put(FILE, SMALL);
    writable(false);
    succeeds(without_privileges(&mut home.densenet(&server.url(""), &["weights", "fetch", NAME])));
    writable(true);
    assert_eq!(server.requests().len(), 0);
}

#[test]
#[cfg(unix)]
fn a_full_disk_is_told_leaves_the_cache_as_it_was_and_is_no_reason_to_ask_again() {
    let (home, server) = (Home::new(), small());
    home.put(FILE, b"what was there");
    let mut limited = Command::new("sh");
    home.environment(&mut limited, &server.url(""));
    limited.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_densenet")]);
    let (code, out, err) = run(limited.args(["weights", "fetch", NAME]));
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert!(err.contains("cannot write") && err.contains("densenet.partial"), "{err}");
    assert_eq!(server.requests().len(), 1, "{err}");
    assert_eq!(std::fs::read(home.path()).unwrap(), b"what was there");
    succeeds(&mut home.densenet(&server.url(""), &["weights", "fetch", NAME]));
    assert!(std::fs::read(home.path()).unwrap() == SMALL);
}
