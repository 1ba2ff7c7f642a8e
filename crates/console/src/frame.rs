//! What every page has: head, navigation, one main part; and the pieces that pages are made of: forms, tables, states, parts that
//! renew themselves.
//!
//! Invariant: a form that changes something carries the secret of its reader's session ([`Viewer::csrf`]).

use crate::assets;
use crate::lang::{Lang, Text, text};
use crate::path;
use maud::{DOCTYPE, Markup, html};

/// A page loads from its own server only; it has no inline script and no inline style. It may frame pages of its own server.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                          frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The name of the form field that carries [`Viewer::csrf`].
pub const CSRF_FIELD: &str = "csrf";

/// Who reads a page, and how.
#[derive(Debug, Clone, Default)]
pub struct Viewer {
    pub lang: Lang,
    /// Name of the token; none where there are no tokens.
    pub name: Option<String>,
    /// Secret of the session, against forms of other sites.
    pub csrf: String,
    /// May say which payments were fraud.
    pub may_label: bool,
    /// May change things: replay, run, promote.
    pub may_change: bool,
    /// What became of the last form, shown once at the top.
    pub notice: Option<Notice>,
}

/// What became of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub state: State,
    pub text: String,
}

/// How something does: shown by colour and by shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Nothing to judge.
    Idle,
    Good,
    Warn,
    Bad,
}

/// A page of the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    Overview,
    Pipelines,
    DeadLetters,
    Batch,
    Alerts,
    Features,
    Models,
    Fraud,
    Query,
}

impl Section {
    pub const ALL: [Section; 9] = [
        Section::Overview,
        Section::Pipelines,
        Section::DeadLetters,
        Section::Batch,
        Section::Alerts,
        Section::Features,
        Section::Models,
        Section::Fraud,
        Section::Query,
    ];

    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Section::Overview => "/",
            Section::Pipelines => "/console/pipelines",
            Section::DeadLetters => "/console/dead-letters",
            Section::Batch => "/console/batch",
            Section::Alerts => "/console/alerts",
            Section::Features => "/console/features",
            Section::Models => "/console/models",
            Section::Fraud => "/console/fraud",
            Section::Query => "/console/query",
        }
    }

    #[must_use]
    pub fn title(self) -> Text {
        match self {
            Section::Overview => text("Overview", "Vue d’ensemble"),
            Section::Pipelines => text("Pipelines", "Flux"),
            Section::DeadLetters => text("Dead letters", "Rebuts"),
            Section::Batch => text("Batch", "Traitements"),
            Section::Alerts => text("Alerts", "Alertes"),
            Section::Features => text("Features", "Variables"),
            Section::Models => text("Models", "Modèles"),
            Section::Fraud => text("Fraud desk", "Fraude"),
            Section::Query => text("Query", "Requêtes"),
        }
    }
}

impl State {
    #[must_use]
    pub fn word(self) -> Text {
        match self {
            State::Idle => text("idle", "inactif"),
            State::Good => text("good", "bon"),
            State::Warn => text("at risk", "à risque"),
            State::Bad => text("bad", "mauvais"),
        }
    }

    /// Class in the style sheet.
    #[must_use]
    pub fn class(self) -> &'static str {
        match self {
            State::Idle => "idle",
            State::Good => "good",
            State::Warn => "warn",
            State::Bad => "bad",
        }
    }

    /// A shape of its own, for who does not see the colour.
    #[must_use]
    pub fn shape(self) -> &'static str {
        match self {
            State::Idle => "○",
            State::Good => "●",
            State::Warn => "▲",
            State::Bad => "■",
        }
    }
}

const SKIP: Text = text("Skip to the content", "Aller au contenu");
const NAVIGATION: Text = text("Pages", "Pages");
const SIGN_OUT: Text = text("Sign out", "Se déconnecter");
const NOT_YOURS: Text =
    text("Your token may look, not change this.", "Votre jeton permet de consulter, pas de modifier.");
const LIVE_LOST: Text = text("Connection lost; trying again", "Connexion perdue ; nouvel essai en cours");

/// The page of a section.
#[must_use]
pub fn page(viewer: &Viewer, section: Section, body: Markup) -> String {
    document(viewer, viewer.lang.say(section.title()), Some(section), body)
}

/// A page that is none of the navigation's, as what says that something failed.
#[must_use]
pub fn other_page(viewer: &Viewer, title: &str, body: Markup) -> String {
    document(viewer, title, None, body)
}

fn document(viewer: &Viewer, title: &str, section: Option<Section>, body: Markup) -> String {
    let lang = viewer.lang;
    html! {
        (DOCTYPE)
        html lang=(lang.tag()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Affluent" }
                link rel="icon" type="image/svg+xml" href=(assets::icon_path());
                link rel="stylesheet" href=(assets::style_path());
                script src=(assets::script_path()) defer {}
            }
            body data-lost=(lang.say(LIVE_LOST)) {
                a.skip href="#main" { (lang.say(SKIP)) }
                header.top {
                    a.brand href="/" { "Affluent" }
                    @if section.is_some() { (navigation(viewer, section)) }
                }
                main #main tabindex="-1" {
                    h1 { (title) }
                    @if let Some(notice) = &viewer.notice { (told(lang, notice)) }
                    (body)
                }
                p.lost #lost role="status" {}
            }
        }
    }
    .into_string()
}

fn navigation(viewer: &Viewer, here: Option<Section>) -> Markup {
    let lang = viewer.lang;
    html! {
        nav aria-label=(lang.say(NAVIGATION)) {
            ul {
                @for section in Section::ALL {
                    li {
                        a href=(section.path()) aria-current=[(here == Some(section)).then_some("page")] {
                            (lang.say(section.title()))
                        }
                    }
                }
            }
        }
        @if let Some(name) = &viewer.name {
            form.who method="post" action="/console/sign-out" {
                (hidden(CSRF_FIELD, &viewer.csrf))
                span { (name) }
                button.quiet type="submit" { (lang.say(SIGN_OUT)) }
            }
        }
    }
}

fn told(lang: Lang, notice: &Notice) -> Markup {
    let role = match notice.state {
        State::Bad => "alert",
        State::Idle | State::Good | State::Warn => "status",
    };
    html! { p.notice.(notice.state.class()) role=(role) { (state(lang, notice.state)) " " (notice.text) } }
}

/// A state as shape, colour and word.
#[must_use]
pub fn state(lang: Lang, state: State) -> Markup {
    html! {
        span.state.(state.class()) {
            span.shape aria-hidden="true" { (state.shape()) }
            " " (lang.say(state.word()))
        }
    }
}

/// A form that changes something: `fields` in between, one button. Who may not change it sees why there is none.
#[must_use]
pub fn form(viewer: &Viewer, may: bool, action: &str, fields: Markup, button: Text) -> Markup {
    let lang = viewer.lang;
    html! {
        @if may {
            form.act method="post" action=(action) {
                (hidden(CSRF_FIELD, &viewer.csrf))
                (fields)
                button type="submit" { (lang.say(button)) }
            }
        } @else {
            p.quiet { (lang.say(NOT_YOURS)) }
        }
    }
}

/// A form field that nobody sees.
#[must_use]
pub fn hidden(name: &str, value: &str) -> Markup {
    html! { input type="hidden" name=(name) value=(value); }
}

/// A labelled line of text in a form.
#[must_use]
pub fn input(lang: Lang, label: Text, name: &str, value: &str) -> Markup {
    html! { label { span { (lang.say(label)) } input type="text" name=(name) value=(value); } }
}

/// A labelled choice in a form: value and what is shown.
#[must_use]
pub fn select(lang: Lang, label: Text, name: &str, options: &[(String, String)], chosen: &str) -> Markup {
    html! {
        label {
            span { (lang.say(label)) }
            select name=(name) {
                @for (value, shown) in options { option value=(value) selected[value == chosen] { (shown) } }
            }
        }
    }
}

/// A part that renews itself: a fragment of the same `id` in the stream of `/console/live` takes its place.
/// `source` is the path of that stream with its query.
#[must_use]
pub fn live(source: &str, id: &str, body: Markup) -> Markup {
    html! { div id=(id) data-live=(source) { (body) } }
}

/// A column: its title, and whether it holds numbers (aligned at the right).
#[derive(Debug, Clone, Copy)]
pub struct Column {
    pub title: Text,
    pub is_number: bool,
}

/// A column of words.
#[must_use]
pub const fn words(title: Text) -> Column {
    Column { title, is_number: false }
}

/// A column of numbers.
#[must_use]
pub const fn numbers(title: Text) -> Column {
    Column { title, is_number: true }
}

/// A table with a caption; it scrolls sideways where there is no room. Each row has a cell a column; the first names the row.
#[must_use]
pub fn table(
    lang: Lang,
    caption: &str,
    columns: &[Column],
    rows: impl IntoIterator<Item = Vec<Markup>>,
) -> Markup {
    let class = |at: usize| columns.get(at).is_some_and(|column| column.is_number).then_some("n");
    let mut rows = rows.into_iter().peekable();
    let is_empty = rows.peek().is_none();
    html! {
        div.scroll role="region" aria-label=(caption) tabindex="0" {
            table {
                caption { (caption) }
                thead {
                    tr {
                        @for (at, column) in columns.iter().enumerate() {
                            th scope="col" class=[class(at)] { (lang.say(column.title)) }
                        }
                    }
                }
                tbody {
                    @for row in rows {
                        tr {
                            @for (at, cell) in row.into_iter().enumerate() {
                                @if at == 0 { th scope="row" class=[class(at)] { (cell) } }
                                @else { td class=[class(at)] { (cell) } }
                            }
                        }
                    }
                    @if is_empty { tr { td.quiet colspan=(columns.len()) { (lang.say(NOTHING)) } } }
                }
            }
        }
    }
}

/// What a table or a list says that has nothing in it.
pub const NOTHING: Text = text("nothing yet", "rien pour l’instant");

/// A path with its query; the names are ours, the values anybody's.
#[must_use]
pub fn link(path: &str, query: &[(&str, &str)]) -> String {
    let mut link = path.to_owned();
    for (at, (name, value)) in query.iter().enumerate() {
        link.push(if at == 0 { '?' } else { '&' });
        link.push_str(name);
        link.push('=');
        link.push_str(&path::part(value));
    }
    link
}

/// A time in UTC, to the second, as an element that machines read, too.
#[must_use]
pub fn time(micros: i64) -> Markup {
    let exact = affluent_model::time::format_micros(micros, true);
    let shown = exact.get(..19).unwrap_or(&exact).replace('T', " ");
    html! { time datetime=(exact) { (shown) " UTC" } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn viewer(may_change: bool) -> Viewer {
        Viewer { csrf: "s3cret".to_owned(), may_change, name: Some("a<b".to_owned()), ..Viewer::default() }
    }

    #[test]
    fn a_page_is_safe_and_leads_everywhere() {
        let page = page(&viewer(true), Section::Batch, html! { p { "<script>" } });
        for section in Section::ALL {
            assert!(page.contains(&format!("href=\"{}\"", section.path())), "{section:?}");
        }
        assert_eq!(page.matches("aria-current=\"page\"").count(), 1);
        assert!(page.contains("a&lt;b") && page.contains("&lt;script&gt;") && !page.contains("<script>"));
        // Nothing that the policy would refuse.
        assert!(!page.contains("style=") && !page.contains(" onclick") && !page.contains("://"));
        assert!(POLICY.starts_with("default-src 'none'") && !POLICY.contains("unsafe"));
    }

    #[test]
    fn only_who_may_sees_a_form_and_it_carries_the_secret() {
        let form = |may| form(&viewer(may), may, "/x", html! {}, text("Do", "Faire")).into_string();
        assert!(form(true).contains("name=\"csrf\" value=\"s3cret\"") && form(true).contains("<button"));
        assert!(!form(false).contains("<form") && form(false).contains("may look"));
    }

    #[test]
    fn an_empty_table_says_so() {
        let columns = [words(text("a", "b")), numbers(text("n", "n"))];
        let empty = table(Lang::Fr, "t", &columns, Vec::new()).into_string();
        assert!(empty.contains("rien pour") && empty.contains("colspan=\"2\""));
        let full = table(Lang::En, "t", &columns, [vec![html! { "x" }, html! { (1) }]]).into_string();
        assert!(full.contains("<th scope=\"row\">x</th><td class=\"n\">1</td>"), "{full}");
    }

    #[test]
    fn a_link_keeps_its_values_apart() {
        assert_eq!(link("/x", &[]), "/x");
        assert_eq!(link("/x", &[("id", "a/0/1&b"), ("n", " ")]), "/x?id=a%2F0%2F1%26b&n=%20");
    }

    #[test]
    fn a_time_is_shown_to_the_second() {
        assert!(time(0).into_string().contains(">1970-01-01 00:00:00 UTC<"));
    }
}
