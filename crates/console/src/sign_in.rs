//! Pages for who is not in: signing in, and what went wrong.

use crate::frame::{self, Viewer};
use crate::lang::{Text, text};
use maud::html;

/// Where the form goes.
pub const PATH: &str = "/console/sign-in";

const TITLE: Text = text("Sign in", "Connexion");
const INTRO: Text = text(
    "This console asks for a token of [[http.tokens]] in the configuration.",
    "Cette console demande un jeton de [[http.tokens]] de la configuration.",
);
const TOKEN: Text = text("Token", "Jeton");
const UNKNOWN: Text = text("This token is not known.", "Ce jeton est inconnu.");
const FAILED: Text = text("That did not work", "Cela n’a pas fonctionné");
const HOME: Text = text("To the overview", "Vers la vue d’ensemble");

/// The form. `to`: the path to go to afterwards; `is_wrong`: a token was given that is not known.
#[must_use]
pub fn page(viewer: &Viewer, to: &str, is_wrong: bool) -> String {
    let lang = viewer.lang;
    let body = html! {
        p { (lang.say(INTRO)) }
        @if is_wrong { p.notice.bad role="alert" { (lang.say(UNKNOWN)) } }
        form.ask method="post" action=(PATH) {
            (frame::hidden("to", to))
            label {
                span { (lang.say(TOKEN)) }
                input type="password" name="token" autocomplete="current-password" required autofocus;
            }
            button type="submit" { (lang.say(TITLE)) }
        }
    };
    frame::other_page(viewer, lang.say(TITLE), body)
}

/// What went wrong, as it was told.
#[must_use]
pub fn failed(viewer: &Viewer, detail: &str) -> String {
    let lang = viewer.lang;
    let body = html! {
        p.notice.bad role="alert" { (detail) }
        p { a href="/" { (lang.say(HOME)) } }
    };
    frame::other_page(viewer, lang.say(FAILED), body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_leads_on_and_shows_no_navigation() {
        let page = page(&Viewer::default(), "/console/batch?\"", true);
        assert!(page.contains("value=\"/console/batch?&quot;\"") && page.contains("not known"), "{page}");
        assert!(!page.contains("<nav"));
        assert!(failed(&Viewer::default(), "<no>").contains("&lt;no&gt;"));
    }
}
