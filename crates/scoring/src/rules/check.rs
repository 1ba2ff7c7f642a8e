//! Whether a condition makes sense: its names, its types, and that it is of the part of CEL that rules are written in.
//!
//! The part: literals, names, lists, comparisons, `&&`, `||`, `!`, `? :`, `in`, arithmetic of numbers of one type, `size`, `double`,
//! `startsWith`, `endsWith`, `contains`. No loops and no regular expressions: a condition takes microseconds.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators};

/// What an expression is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Integer,
    /// With a fraction.
    Number,
    Text,
    Integers,
    Texts,
}

/// The kind of a name.
type Names<'a> = &'a dyn Fn(&str) -> Result<Kind, String>;

/// The kind of an expression.
///
/// # Errors
/// What is wrong with it, for its author.
pub(super) fn check(expression: &IdedExpr, names: Names<'_>) -> Result<Kind, String> {
    match &expression.expr {
        Expr::Ident(name) => names(name),
        Expr::Literal(literal) => match literal {
            LiteralValue::Boolean(_) => Ok(Kind::Bool),
            LiteralValue::Int(_) => Ok(Kind::Integer),
            LiteralValue::Double(_) => Ok(Kind::Number),
            LiteralValue::String(_) => Ok(Kind::Text),
            LiteralValue::Bytes(_) | LiteralValue::Null | LiteralValue::UInt(_) => {
                Err("a value is true, false, a number or a text".to_owned())
            }
        },
        Expr::List(list) => {
            let mut kinds = list.elements.iter().map(|element| check(element, names));
            let first = kinds.next().ok_or("an empty list holds nothing")??;
            for kind in kinds {
                if kind? != first {
                    return Err("the values of a list are of one type".to_owned());
                }
            }
            match first {
                Kind::Integer => Ok(Kind::Integers),
                Kind::Text => Ok(Kind::Texts),
                Kind::Bool | Kind::Number | Kind::Integers | Kind::Texts => {
                    Err("a list is of texts or of whole numbers".to_owned())
                }
            }
        }
        Expr::Call(call) => called(call, names),
        Expr::Select(_) | Expr::Map(_) | Expr::Struct(_) | Expr::Comprehension(_) | Expr::Unspecified => {
            Err("maps, fields and loops are not part of the language of rules".to_owned())
        }
    }
}

/// What a name is compared with, or looked up in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Looked<'a> {
    /// Another name, a list's for example.
    Name(&'a str),
    /// A text that is written in the condition.
    Text(&'a str),
}

/// Adds every name that is compared with something, or looked up in it.
pub(super) fn looked_up<'a>(expression: &'a IdedExpr, found: &mut Vec<(&'a str, Looked<'a>)>) {
    let Expr::Call(call) = &expression.expr else { return };
    let pairs: &[[usize; 2]] = match call.func_name.as_str() {
        operators::IN => &[[0, 1]],
        operators::EQUALS | operators::NOT_EQUALS => &[[0, 1], [1, 0]],
        _ => &[],
    };
    for &[name, with] in pairs {
        if let (Some(Expr::Ident(name)), Some(with)) =
            (call.args.get(name).map(|name| &name.expr), call.args.get(with))
        {
            found.extend(texts(with).into_iter().map(|with| (name.as_str(), with)));
        }
    }
    call.target.iter().for_each(|target| looked_up(target, found));
    call.args.iter().for_each(|argument| looked_up(argument, found));
}

/// A name or a text, or the texts of a list.
fn texts(expression: &IdedExpr) -> Vec<Looked<'_>> {
    match &expression.expr {
        Expr::Ident(name) => vec![Looked::Name(name)],
        Expr::Literal(LiteralValue::String(text)) => vec![Looked::Text(text.inner())],
        Expr::List(list) => list.elements.iter().flat_map(texts).collect(),
        Expr::Literal(_)
        | Expr::Call(_)
        | Expr::Select(_)
        | Expr::Map(_)
        | Expr::Struct(_)
        | Expr::Comprehension(_)
        | Expr::Unspecified => Vec::new(),
    }
}

/// What may be called.
const FUNCTIONS: [&str; 22] = [
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::CONDITIONAL,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::LESS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::GREATER_EQUALS,
    operators::IN,
    operators::ADD,
    operators::SUBSTRACT,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::NEGATE,
    "size",
    "double",
    "startsWith",
    "endsWith",
    "contains",
];

fn called(call: &CallExpr, names: Names<'_>) -> Result<Kind, String> {
    let function = call.func_name.as_str();
    if !FUNCTIONS.contains(&function) {
        return Err(format!("{function} is not part of the language of rules"));
    }
    let target = call.target.iter().map(|target| check(target, names));
    let kinds = target.chain(call.args.iter().map(|argument| check(argument, names)));
    let kinds = kinds.collect::<Result<Vec<Kind>, String>>()?;
    let is_member = call.target.is_some();
    match (function, is_member, kinds.as_slice()) {
        (operators::LOGICAL_AND | operators::LOGICAL_OR, false, _) => {
            let all = kinds.iter().all(|kind| *kind == Kind::Bool);
            if all { Ok(Kind::Bool) } else { Err("both sides of && and || are true or false".to_owned()) }
        }
        (operators::LOGICAL_NOT, false, [Kind::Bool]) => Ok(Kind::Bool),
        (operators::CONDITIONAL, false, [Kind::Bool, one, other]) if one == other => Ok(*one),
        (operators::EQUALS | operators::NOT_EQUALS, false, [one, other]) => comparable(*one, *other),
        (
            operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS,
            false,
            [one, other],
        ) => {
            if *one == Kind::Bool {
                return Err("there is no order of true and false".to_owned());
            }
            comparable(*one, *other)
        }
        (operators::IN, false, [Kind::Text, Kind::Texts] | [Kind::Integer, Kind::Integers]) => Ok(Kind::Bool),
        (operators::IN, false, _) => Err("in takes a text and a list of texts, or whole numbers".to_owned()),
        (
            operators::ADD
            | operators::SUBSTRACT
            | operators::MULTIPLY
            | operators::DIVIDE
            | operators::NEGATE
            | operators::MODULO,
            false,
            _,
        ) => arithmetic(function, &kinds),
        ("size", false, [Kind::Text]) => Ok(Kind::Integer),
        ("double", false, [Kind::Integer | Kind::Number]) => Ok(Kind::Number),
        ("startsWith" | "endsWith" | "contains", true, [Kind::Text, Kind::Text]) => Ok(Kind::Bool),
        _ => Err(format!("{function} is not for {kinds:?}")),
    }
}

/// Of a comparison: numbers with numbers, and each kind with itself; lists with nothing.
fn comparable(one: Kind, other: Kind) -> Result<Kind, String> {
    let number = |kind: Kind| matches!(kind, Kind::Integer | Kind::Number);
    let list = matches!(one, Kind::Integers | Kind::Texts);
    if (one == other && !list) || (number(one) && number(other)) {
        return Ok(Kind::Bool);
    }
    Err(format!("cannot compare {one:?} with {other:?}"))
}

fn arithmetic(function: &str, kinds: &[Kind]) -> Result<Kind, String> {
    match kinds {
        [Kind::Integer] | [Kind::Integer, Kind::Integer] => Ok(Kind::Integer),
        // There is no remainder of numbers with a fraction.
        [Kind::Number] | [Kind::Number, Kind::Number] if function != operators::MODULO => Ok(Kind::Number),
        [Kind::Integer, Kind::Number] | [Kind::Number, Kind::Integer] => {
            Err("arithmetic is of numbers of one type: write 1.0 for 1, or double(x) for a whole x"
                .to_owned())
        }
        _ => Err(format!("{function} takes numbers, not {kinds:?}")),
    }
}
