//! Which columns look as if they identified a person, by their names alone, in English and French. Pure.
//!
//! A guess to start from: who knows the data decides.

use affluent_stream::cdc::Protection;

/// Words of names and what is proposed for them; the first that fits holds.
const WORDS: &[(Protection, &[&str])] = &[
    (
        Protection::Drop,
        &["password", "passwd", "password_hash", "secret", "cvv", "cvc", "pin", "mot_de_passe"],
    ),
    (
        Protection::Token,
        &[
            "email",
            "mail",
            "courriel",
            "iban",
            "pan",
            "card_number",
            "account_number",
            "passport",
            "ssn",
            "tax_id",
            "national_id",
            "numero_carte",
            "numero_compte",
        ],
    ),
    (
        Protection::Mask,
        &[
            "full_name",
            "first_name",
            "last_name",
            "family_name",
            "given_name",
            "middle_name",
            "maiden_name",
            "surname",
            "holder_name",
            "cardholder",
            "prenom",
            "nom_complet",
            "nom_de_famille",
            "phone",
            "phone_number",
            "mobile",
            "telephone",
            "address",
            "street",
            "adresse",
            "rue",
        ],
    ),
    (
        Protection::Drop,
        &["birth_date", "date_of_birth", "birthday", "dob", "date_naissance", "date_de_naissance"],
    ),
];

/// Network addresses are no street addresses: rules of fraud and features read them.
const NETWORK: &[&str] = &["ip", "ipv4", "ipv6", "mac"];

/// What is proposed for a column of this name.
pub(super) fn proposed(column: &str) -> Option<Protection> {
    let name = format!("_{}_", snake(column));
    let has = |word: &&str| name.contains(&format!("_{word}_"));
    if NETWORK.iter().any(has) {
        return None;
    }
    WORDS.iter().find(|(_, words)| words.iter().any(has)).map(|(protection, _)| *protection)
}

/// `fullName` and `FULL-NAME` as `full_name`.
fn snake(name: &str) -> String {
    let (mut snake, mut was_lower) = (String::with_capacity(name.len() + 4), false);
    for c in name.chars() {
        if c.is_uppercase() && was_lower {
            snake.push('_');
        }
        was_lower = c.is_lowercase() || c.is_ascii_digit();
        match c.is_alphanumeric() {
            true => snake.extend(c.to_lowercase()),
            false => snake.push('_'),
        }
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_say_person_are_found_and_others_left() {
        for (name, expected) in [
            ("email", Some(Protection::Token)),
            ("customerEmail", Some(Protection::Token)),
            ("EMAIL-ADDRESS", Some(Protection::Token)),
            ("full_name", Some(Protection::Mask)),
            ("phone2", None),
            ("phone_2", Some(Protection::Mask)),
            ("billing_street", Some(Protection::Mask)),
            ("prenom", Some(Protection::Mask)),
            ("cvv", Some(Protection::Drop)),
            ("birth_date", Some(Protection::Drop)),
            ("ip_address", None),
            ("name", None),
            ("company", None),
            ("pinned", None),
            ("amount", None),
        ] {
            assert_eq!(proposed(name), expected, "{name}");
        }
    }
}
