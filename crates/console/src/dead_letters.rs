//! The page of dead letters: what was refused and why, one with its original bytes, and sending them again.

use crate::frame::{self, Section, Viewer, words};
use crate::lang::{Lang, Text, text};
use maud::{Markup, html};

/// Where letters are sent again.
pub const REPLAY: &str = "/console/dead-letters/replay";
/// Letters that one page shows.
pub const SHOWN_MAX: usize = 200;

/// What the list shows.
#[derive(Debug, Clone, Default)]
pub struct Letters {
    pub asked: Asked,
    /// Codes that can be asked for.
    pub reasons: Vec<String>,
    /// The oldest first, at most [`SHOWN_MAX`].
    pub letters: Vec<Letter>,
    /// How many match.
    pub matching: usize,
}

/// Which letters; an empty text asks for all.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub topic: String,
    pub stage: String,
    pub reason: String,
}

/// A letter without its bytes.
#[derive(Debug, Clone, Default)]
pub struct Letter {
    pub id: String,
    pub stage: String,
    pub reason: String,
    /// Microseconds UTC.
    pub first_seen: i64,
    pub error: String,
}

/// A letter with its bytes, as far as they are shown.
#[derive(Debug, Clone, Default)]
pub struct Opened {
    pub letter: Letter,
    /// It never reached Kafka: there is nothing to send again.
    pub is_replayable: bool,
    pub key: Option<String>,
    pub value: Option<String>,
    pub headers: Vec<(String, String)>,
}

const INTRO: Text = text(
    "Records that were refused: kept with their bytes until they are sent again. Mend the cause first.",
    "Enregistrements refusés : conservés octet par octet jusqu’à leur renvoi. Corrigez d’abord la cause.",
);
const TOPIC: Text = text("topic", "topic");
const STAGE: Text = text("stage", "étape");
const REASON: Text = text("reason", "raison");
const ANY: Text = text("any", "toutes");
const SHOW: Text = text("Show", "Afficher");
const LETTER: Text = text("letter", "rebut");
const FIRST_SEEN: Text = text("first seen", "première fois");
const ERROR: Text = text("error", "erreur");
const CAPTION: Text = text("Dead letters, the oldest first", "Rebuts, les plus anciens d’abord");
const MATCHING: Text = text("matching; shown at most", "correspondants ; affichés au plus");
const REPLAY_ALL: Text = text("Send all of these again", "Renvoyer tous ceux-ci");
const REPLAY_ONE: Text = text("Send it again", "Le renvoyer");
const NOT_REPLAYABLE: Text = text(
    "It never reached Kafka, so it cannot be sent again: mend the cause, then read the table again with `affluent up --resnapshot`.",
    "Il n’a jamais atteint Kafka et ne peut être renvoyé : corrigez la cause, puis relisez la table avec `affluent up --resnapshot`.",
);
const KEY: Text = text("Key", "Clé");
const VALUE: Text = text("Value", "Valeur");
const HEADERS: Text = text("Headers", "En-têtes");
const BACK: Text = text("All dead letters", "Tous les rebuts");
const GONE: Text = text(
    "No such letter is waiting: it may have been sent again.",
    "Ce rebut n’attend plus : il a peut-être été renvoyé.",
);
const NONE: Text = text("none", "aucune");

/// The list.
#[must_use]
pub fn page(viewer: &Viewer, model: &Letters) -> String {
    let lang = viewer.lang;
    let (count, asked) = (model.matching, &model.asked);
    let body = html! {
        p.quiet { (lang.say(INTRO)) }
        (filters(lang, model))
        p { (count) " " (lang.say(MATCHING)) " " (SHOWN_MAX) }
        @if count > 0 {
            (frame::form(viewer, viewer.may_change, REPLAY, html! {
                (frame::hidden("topic", &asked.topic))
                (frame::hidden("stage", &asked.stage))
                (frame::hidden("reason", &asked.reason))
            }, REPLAY_ALL))
        }
        (list(lang, &model.letters))
    };
    frame::page(viewer, Section::DeadLetters, body)
}

fn filters(lang: Lang, model: &Letters) -> Markup {
    let any = [(String::new(), lang.say(ANY).to_owned())];
    let reasons: Vec<(String, String)> =
        any.into_iter().chain(model.reasons.iter().map(|code| (code.clone(), code.clone()))).collect();
    html! {
        form.ask method="get" action=(Section::DeadLetters.path()) {
            (frame::input(lang, TOPIC, "topic", &model.asked.topic))
            (frame::input(lang, STAGE, "stage", &model.asked.stage))
            (frame::select(lang, REASON, "reason", &reasons, &model.asked.reason))
            button type="submit" { (lang.say(SHOW)) }
        }
    }
}

fn list(lang: Lang, letters: &[Letter]) -> Markup {
    let columns = [words(LETTER), words(STAGE), words(REASON), words(FIRST_SEEN), words(ERROR)];
    let rows = letters.iter().map(|letter| {
        let link = frame::link(Section::DeadLetters.path(), &[("id", &letter.id)]);
        vec![
            html! { a href=(link) { (letter.id) } },
            html! { (letter.stage) },
            html! { code { (letter.reason) } },
            frame::time(letter.first_seen),
            html! { (letter.error) },
        ]
    });
    frame::table(lang, lang.say(CAPTION), &columns, rows)
}

/// One letter; none where it does not wait any more.
#[must_use]
pub fn opened(viewer: &Viewer, model: Option<&Opened>) -> String {
    let lang = viewer.lang;
    let body = html! {
        p { a href=(Section::DeadLetters.path()) { "← " (lang.say(BACK)) } }
        @match model {
            None => p { (lang.say(GONE)) },
            Some(model) => (bytes_of(viewer, model)),
        }
    };
    frame::page(viewer, Section::DeadLetters, body)
}

fn bytes_of(viewer: &Viewer, model: &Opened) -> Markup {
    let (lang, letter) = (viewer.lang, &model.letter);
    let block = |title: Text, bytes: Option<&String>| {
        html! {
            h3 { (lang.say(title)) }
            pre tabindex="0" { (bytes.map_or(lang.say(NONE), String::as_str)) }
        }
    };
    html! {
        h2 { code { (letter.id) } }
        p { code { (letter.reason) } " · " (letter.stage) " · " (frame::time(letter.first_seen)) }
        p { (letter.error) }
        @if model.is_replayable {
            (frame::form(viewer, viewer.may_change, REPLAY, frame::hidden("id", &letter.id), REPLAY_ONE))
        } @else {
            p.quiet { (lang.say(NOT_REPLAYABLE)) }
        }
        (block(KEY, model.key.as_ref()))
        (block(VALUE, model.value.as_ref()))
        h3 { (lang.say(HEADERS)) }
        @if model.headers.is_empty() { p { (lang.say(NONE)) } }
        ul { @for (name, value) in &model.headers { li { code { (name) } " = " code { (value) } } } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter() -> Letter {
        Letter { id: "t/0/1".to_owned(), error: "<b>".to_owned(), ..Letter::default() }
    }

    #[test]
    fn letters_are_listed_with_a_way_to_each() {
        let model = Letters { letters: vec![letter()], matching: 1, ..Letters::default() };
        let reader = page(&Viewer::default(), &model);
        assert!(
            reader.contains("href=\"/console/dead-letters?id=t%2F0%2F1\"") && reader.contains("&lt;b&gt;")
        );
        assert!(!reader.contains(REPLAY), "a reader changes nothing");
        let admin = Viewer { may_change: true, ..Viewer::default() };
        assert!(page(&admin, &model).contains(REPLAY));
        assert!(!page(&admin, &Letters::default()).contains(REPLAY), "nothing to send");
    }

    #[test]
    fn what_cannot_be_sent_again_has_no_button() {
        let admin = Viewer { may_change: true, ..Viewer::default() };
        for is_replayable in [true, false] {
            let model = Opened {
                letter: letter(),
                is_replayable,
                value: Some("{\"a\"}".to_owned()),
                ..Opened::default()
            };
            let page = opened(&admin, Some(&model));
            assert_eq!(page.contains(REPLAY), is_replayable);
            assert!(page.contains("{&quot;a&quot;}"), "{page}");
        }
        assert!(opened(&admin, None).contains("may have been sent again"));
    }
}
