//! The tests of class `SMTPDChannelTest`, which `SMTPDChannelIPv6Test` derives from.

use std::net::TcpStream;

use asyncore::{Address, Dispatcher, Error, Result};
use examples::smtpd::{PlainSmtpChannel, SmtpChannel, SmtpServer, SmtpServerBase};

use super::{BOTH, DECODE, Fixture, HOST, assert_is_value_error, peer};

struct BrokenDummyServer {
    base: SmtpServerBase,
}

impl Dispatcher for BrokenDummyServer {
    type Base = SmtpServerBase;
    fn base(&self) -> &SmtpServerBase {
        &self.base
    }

    fn listen(&self, _num: i32) -> Result {
        Err(Error::msg("broken"))
    }
}

impl SmtpServer for BrokenDummyServer {}

pub(super) fn test_broken_connect(_t: &Fixture) {
    let server = BrokenDummyServer::init(|base| BrokenDummyServer { base });
    let broken = server.init_smtp_server((HOST, 0), Some(("b", 0)), DECODE);
    let error = broken.expect_err("it cannot listen").to_string();
    assert_eq!(error, "broken");
    assert_eq!(server.fileno(), None);
}

pub(super) fn test_decode_data_and_enable_SMTPUTF8_raises(t: &Fixture) {
    let conn = t.channel.socket().expect("it has one");
    assert_is_value_error(PlainSmtpChannel::new(
        t.server.clone(),
        &t.map,
        conn,
        peer(),
        BOTH,
    ));
}

pub(super) fn test_server_accept(t: &Fixture) {
    let addr = t
        .server
        .socket()
        .and_then(|socket| Ok(socket.local_addr()?));
    let Ok(Address::Inet(addr)) = addr else {
        panic!("{addr:?}");
    };
    let _client = TcpStream::connect(addr).expect("it listens");
    let before = t.map.len();
    t.server.handle_accept().expect("a connection waits");
    assert_eq!(t.map.len(), before + 1);
}

pub(super) fn test_missing_data(t: &Fixture) {
    t.write_line("");
    t.assert_last("500 Error: bad syntax");
}

pub(super) fn test_EHLO(t: &Fixture) {
    t.write_line("EHLO example");
    t.assert_last("250 HELP");
}

pub(super) fn test_EHLO_bad_syntax(t: &Fixture) {
    t.write_line("EHLO");
    t.assert_last("501 Syntax: EHLO hostname");
}

pub(super) fn test_EHLO_duplicate(t: &Fixture) {
    t.write_lines(&["EHLO example", "EHLO example"]);
    t.assert_last("503 Duplicate HELO/EHLO");
}

pub(super) fn test_EHLO_HELO_duplicate(t: &Fixture) {
    t.write_lines(&["EHLO example", "HELO example"]);
    t.assert_last("503 Duplicate HELO/EHLO");
}

pub(super) fn test_HELO(t: &Fixture) {
    t.channel.smtp_channel().fqdn.replace("name".to_owned());
    t.write_line("HELO example");
    t.assert_last("250 name");
}

pub(super) fn test_HELO_EHLO_duplicate(t: &Fixture) {
    t.write_lines(&["HELO example", "EHLO example"]);
    t.assert_last("503 Duplicate HELO/EHLO");
}

pub(super) fn test_HELP(t: &Fixture) {
    t.write_line("HELP");
    t.assert_last("250 Supported commands: EHLO HELO MAIL RCPT DATA RSET NOOP QUIT VRFY");
}

pub(super) fn test_HELP_command(t: &Fixture) {
    t.write_line("HELP MAIL");
    t.assert_last("250 Syntax: MAIL FROM: <address>");
}

pub(super) fn test_HELP_command_unknown(t: &Fixture) {
    t.write_line("HELP SPAM");
    t.assert_last("501 Supported commands: EHLO HELO MAIL RCPT DATA RSET NOOP QUIT VRFY");
}

pub(super) fn test_HELO_bad_syntax(t: &Fixture) {
    t.write_line("HELO");
    t.assert_last("501 Syntax: HELO hostname");
}

pub(super) fn test_HELO_duplicate(t: &Fixture) {
    t.write_lines(&["HELO example", "HELO example"]);
    t.assert_last("503 Duplicate HELO/EHLO");
}

pub(super) fn test_HELO_parameter_rejected_when_extensions_not_enabled(t: &Fixture) {
    t.write_lines(&["HELO example", "MAIL from:<foo@example.com> SIZE=1234"]);
    t.assert_last("501 Syntax: MAIL FROM: <address>");
}

pub(super) fn test_MAIL_allows_space_after_colon(t: &Fixture) {
    t.write_lines(&["HELO example", "MAIL from:   <foo@example.com>"]);
    t.assert_last("250 OK");
}

pub(super) fn test_extended_MAIL_allows_space_after_colon(t: &Fixture) {
    t.write_lines(&["EHLO example", "MAIL from:   <foo@example.com> size=20"]);
    t.assert_last("250 OK");
}

pub(super) fn test_NOOP(t: &Fixture) {
    t.write_line("NOOP");
    t.assert_last("250 OK");
}

pub(super) fn test_HELO_NOOP(t: &Fixture) {
    t.write_lines(&["HELO example", "NOOP"]);
    t.assert_last("250 OK");
}

pub(super) fn test_NOOP_bad_syntax(t: &Fixture) {
    t.write_line("NOOP hi");
    t.assert_last("501 Syntax: NOOP");
}

pub(super) fn test_QUIT(t: &Fixture) {
    t.write_line("QUIT");
    t.assert_last("221 Bye");
}

pub(super) fn test_HELO_QUIT(t: &Fixture) {
    t.write_lines(&["HELO example", "QUIT"]);
    t.assert_last("221 Bye");
}

pub(super) fn test_QUIT_arg_ignored(t: &Fixture) {
    t.write_line("QUIT bye bye");
    t.assert_last("221 Bye");
}

pub(super) fn test_bad_state(t: &Fixture) {
    t.channel.smtp_channel().smtp_state.set(99);
    t.write_line("HELO example");
    t.assert_last("451 Internal confusion");
}

pub(super) fn test_command_too_long(t: &Fixture) {
    t.write_line("HELO example");
    let limit = t.channel.smtp_channel().command_size_limit.get();
    t.write_line(format!("MAIL from: {}@example", "a".repeat(limit)));
    t.assert_last("500 Error: line too long");
}

pub(super) fn test_MAIL_command_limit_extended_with_SIZE(t: &Fixture) {
    t.write_line("EHLO example");
    let limit = t.channel.smtp_channel().command_size_limit.get();
    let fill_len = limit - "MAIL from:<@example>".len();
    let fill = "a".repeat(fill_len);
    t.write_line(format!("MAIL from:<{fill}@example> SIZE=1234"));
    t.assert_last("250 OK");
    let fill = "a".repeat(fill_len + 26);
    t.write_line(format!("MAIL from:<{fill}@example> SIZE=1234"));
    t.assert_last("500 Error: line too long");
}

pub(super) fn test_MAIL_command_rejects_SMTPUTF8_by_default(t: &Fixture) {
    t.write_lines(&[
        "EHLO example",
        "MAIL from: <naive@example.com> BODY=8BITMIME SMTPUTF8",
    ]);
    assert!(t.last().starts_with('5'), "{}", t.last());
}

pub(super) fn test_data_longer_than_default_data_size_limit(t: &Fixture) {
    t.channel.smtp_channel().data_size_limit.set(1048);
    t.write_lines(&[
        "HELO example",
        "MAIL From:eggs@example",
        "RCPT To:spam@example",
        "DATA",
    ]);
    t.write_line(format!("{}A\r\n.", "A".repeat(1048)));
    t.assert_last("552 Error: Too much mail data");
}

pub(super) fn test_MAIL_size_parameter(t: &Fixture) {
    t.write_lines(&["EHLO example", "MAIL FROM:<eggs@example> SIZE=512"]);
    t.assert_last("250 OK");
}

pub(super) fn test_MAIL_invalid_size_parameter(t: &Fixture) {
    t.write_lines(&["EHLO example", "MAIL FROM:<eggs@example> SIZE=invalid"]);
    t.assert_last("501 Syntax: MAIL FROM: <address> [SP <mail-parameters>]");
}

pub(super) fn test_MAIL_RCPT_unknown_parameters(t: &Fixture) {
    t.write_lines(&["EHLO example", "MAIL FROM:<eggs@example> ham=green"]);
    t.assert_last("555 MAIL FROM parameters not recognized or not implemented");
    t.write_lines(&[
        "MAIL FROM:<eggs@example>",
        "RCPT TO:<eggs@example> ham=green",
    ]);
    t.assert_last("555 RCPT TO parameters not recognized or not implemented");
}

pub(super) fn test_MAIL_size_parameter_larger_than_default_data_size_limit(t: &Fixture) {
    t.channel.smtp_channel().data_size_limit.set(1048);
    t.write_lines(&["EHLO example", "MAIL FROM:<eggs@example> SIZE=2096"]);
    t.assert_last("552 Error: message size exceeds fixed maximum message size");
}

pub(super) fn test_need_MAIL(t: &Fixture) {
    t.write_lines(&["HELO example", "RCPT to:spam@example"]);
    t.assert_last("503 Error: need MAIL command");
}

pub(super) fn test_MAIL_syntax_HELO(t: &Fixture) {
    t.write_lines(&["HELO example", "MAIL from eggs@example"]);
    t.assert_last("501 Syntax: MAIL FROM: <address>");
}

pub(super) fn test_MAIL_syntax_EHLO(t: &Fixture) {
    t.write_lines(&["EHLO example", "MAIL from eggs@example"]);
    t.assert_last("501 Syntax: MAIL FROM: <address> [SP <mail-parameters>]");
}

pub(super) fn test_MAIL_missing_address(t: &Fixture) {
    t.write_lines(&["HELO example", "MAIL from:"]);
    t.assert_last("501 Syntax: MAIL FROM: <address>");
}

pub(super) fn test_MAIL_chevrons(t: &Fixture) {
    t.write_lines(&["HELO example", "MAIL from:<eggs@example>"]);
    t.assert_last("250 OK");
}

pub(super) fn test_MAIL_empty_chevrons(t: &Fixture) {
    t.write_lines(&["EHLO example", "MAIL from:<>"]);
    t.assert_last("250 OK");
}

pub(super) fn test_MAIL_quoted_localpart(t: &Fixture) {
    t.write_lines(&["EHLO example", "MAIL from: <\"Fred Blogs\"@example.com>"]);
    t.assert_last("250 OK");
    t.assert_mailfrom(r#""Fred Blogs"@example.com"#);
}

pub(super) fn test_MAIL_quoted_localpart_no_angles(t: &Fixture) {
    t.write_lines(&["EHLO example", "MAIL from: \"Fred Blogs\"@example.com"]);
    t.assert_last("250 OK");
    t.assert_mailfrom(r#""Fred Blogs"@example.com"#);
}

pub(super) fn test_MAIL_quoted_localpart_with_size(t: &Fixture) {
    t.write_lines(&[
        "EHLO example",
        "MAIL from: <\"Fred Blogs\"@example.com> SIZE=1000",
    ]);
    t.assert_last("250 OK");
    t.assert_mailfrom(r#""Fred Blogs"@example.com"#);
}

pub(super) fn test_MAIL_quoted_localpart_with_size_no_angles(t: &Fixture) {
    t.write_lines(&[
        "EHLO example",
        "MAIL from: \"Fred Blogs\"@example.com SIZE=1000",
    ]);
    t.assert_last("250 OK");
    t.assert_mailfrom(r#""Fred Blogs"@example.com"#);
}

pub(super) fn test_nested_MAIL(t: &Fixture) {
    t.write_lines(&[
        "HELO example",
        "MAIL from:eggs@example",
        "MAIL from:spam@example",
    ]);
    t.assert_last("503 Error: nested MAIL command");
}

pub(super) fn test_VRFY(t: &Fixture) {
    t.write_line("VRFY eggs@example");
    t.assert_last("252 Cannot VRFY user, but will accept message and attempt delivery");
}

pub(super) fn test_VRFY_syntax(t: &Fixture) {
    t.write_line("VRFY");
    t.assert_last("501 Syntax: VRFY <address>");
}

pub(super) fn test_EXPN_not_implemented(t: &Fixture) {
    t.write_line("EXPN");
    t.assert_last("502 EXPN not implemented");
}

pub(super) fn test_no_HELO_MAIL(t: &Fixture) {
    t.write_line("MAIL from:<foo@example.com>");
    t.assert_last("503 Error: send HELO first");
}

pub(super) fn test_need_RCPT(t: &Fixture) {
    t.write_lines(&["HELO example", "MAIL From:eggs@example", "DATA"]);
    t.assert_last("503 Error: need RCPT command");
}

pub(super) fn test_RCPT_syntax_HELO(t: &Fixture) {
    t.write_lines(&[
        "HELO example",
        "MAIL From: eggs@example",
        "RCPT to eggs@example",
    ]);
    t.assert_last("501 Syntax: RCPT TO: <address>");
}

pub(super) fn test_RCPT_syntax_EHLO(t: &Fixture) {
    t.write_lines(&[
        "EHLO example",
        "MAIL From: eggs@example",
        "RCPT to eggs@example",
    ]);
    t.assert_last("501 Syntax: RCPT TO: <address> [SP <mail-parameters>]");
}

pub(super) fn test_RCPT_lowercase_to_OK(t: &Fixture) {
    t.write_lines(&[
        "HELO example",
        "MAIL From: eggs@example",
        "RCPT to: <eggs@example>",
    ]);
    t.assert_last("250 OK");
}

pub(super) fn test_no_HELO_RCPT(t: &Fixture) {
    t.write_line("RCPT to eggs@example");
    t.assert_last("503 Error: send HELO first");
}

pub(super) fn test_data_dialog(t: &Fixture) {
    t.write_lines(&["HELO example", "MAIL From:eggs@example"]);
    t.assert_last("250 OK");
    t.write_line("RCPT To:spam@example");
    t.assert_last("250 OK");
    t.write_line("DATA");
    t.assert_last("354 End data with <CR><LF>.<CR><LF>");
    t.write_line("data\r\nmore\r\n.");
    t.assert_last("250 OK");
    t.assert_messages(&[("eggs@example", &["spam@example"], "data\nmore")]);
}

pub(super) fn test_DATA_syntax(t: &Fixture) {
    t.write_lines(&[
        "HELO example",
        "MAIL From:eggs@example",
        "RCPT To:spam@example",
        "DATA spam",
    ]);
    t.assert_last("501 Syntax: DATA");
}

pub(super) fn test_no_HELO_DATA(t: &Fixture) {
    t.write_line("DATA spam");
    t.assert_last("503 Error: send HELO first");
}

pub(super) fn test_data_transparency_section_4_5_2(t: &Fixture) {
    t.write_lines(&[
        "HELO example",
        "MAIL From:eggs@example",
        "RCPT To:spam@example",
        "DATA",
        "..\r\n.\r\n",
    ]);
    t.assert_received(".");
}

pub(super) fn test_multiple_RCPT(t: &Fixture) {
    t.write_lines(&[
        "HELO example",
        "MAIL From:eggs@example",
        "RCPT To:spam@example",
        "RCPT To:ham@example",
        "DATA",
        "data\r\n.",
    ]);
    t.assert_messages(&[("eggs@example", &["spam@example", "ham@example"], "data")]);
}

pub(super) fn test_manual_status(t: &Fixture) {
    t.write_lines(&[
        "HELO example",
        "MAIL From:eggs@example",
        "RCPT To:spam@example",
        "DATA",
        "return status\r\n.",
    ]);
    t.assert_last("250 Okish");
}

pub(super) fn test_RSET(t: &Fixture) {
    t.write_lines(&[
        "HELO example",
        "MAIL From:eggs@example",
        "RCPT To:spam@example",
        "RSET",
    ]);
    t.assert_last("250 OK");
    t.write_lines(&[
        "MAIL From:foo@example",
        "RCPT To:eggs@example",
        "DATA",
        "data\r\n.",
    ]);
    t.assert_messages(&[("foo@example", &["eggs@example"], "data")]);
}

pub(super) fn test_HELO_RSET(t: &Fixture) {
    t.write_lines(&["HELO example", "RSET"]);
    t.assert_last("250 OK");
}

pub(super) fn test_RSET_syntax(t: &Fixture) {
    t.write_line("RSET hi");
    t.assert_last("501 Syntax: RSET");
}

pub(super) fn test_unknown_command(t: &Fixture) {
    t.write_line("UNKNOWN_CMD");
    t.assert_last("500 Error: command \"UNKNOWN_CMD\" not recognized");
}
