//! What the judge says, by models that were learned.

use crate::learned::{FRAUD, dataset, model, row, vocabulary};
use affluent_learning::fit::Model;
use affluent_scoring::decide::combined;
use affluent_scoring::rules::RulesText;
use affluent_scoring::serving::Served;
use affluent_scoring::{
    Decision, Degraded, Facts, Features, Judge, JudgeOptions, ModelRef, Row, Rules, Thresholds, Vocabulary,
};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long threads may take to judge some hundred payments.
const PATIENCE: Duration = Duration::from_secs(60);

fn served(model: &Model, version: u64, vocabulary: &Vocabulary) -> Arc<Served> {
    Arc::new(Served::new(model.clone(), version, vocabulary, &JudgeOptions::default().decide).unwrap())
}

/// One rule, named like its text, that hits where the condition holds.
fn rules(name: &str, when: &str, decision: &str, vocabulary: &Vocabulary) -> Arc<Rules> {
    let text = format!(
        "[[rules]]\nname = \"{name}\"\nwhen = \"{when}\"\ndecision = \"{decision}\"\nwords = \"because\"\n"
    );
    Arc::new(RulesText::parse(&text, Path::new(".")).unwrap().check(vocabulary).unwrap())
}

fn facts() -> Facts {
    let mut facts = Facts::new("1".to_owned(), 0);
    facts.money("10.00".parse().unwrap(), "EUR");
    facts
}

#[test]
fn a_payment_is_scored_as_the_model_scores_its_row_to_the_bit() {
    let (dataset, vocabulary) = (dataset(1), vocabulary());
    let model = model(&dataset);
    let judge = Judge::new(vocabulary.clone(), JudgeOptions::default());
    judge.set_models(Some(served(&model, 3, &vocabulary)), None);
    let rows: Vec<usize> = (0..dataset.rows.label.len()).collect();
    let scores = model.score(&dataset, &rows).unwrap();
    let thresholds = Thresholds::of(&model, &judge.options().decide);
    let mut decided = [0; 3];
    for nth in rows {
        let row = row(&vocabulary, &dataset, nth);
        let judged = judge.judge(&facts(), Features::Live(&row));
        assert_eq!(judged.raw.unwrap().to_bits(), scores[nth].to_bits(), "row {nth}");
        let probability = model.probability(scores[nth]);
        assert_eq!(judged.score.unwrap().to_bits(), probability.to_bits());
        assert_eq!(judged.decision, thresholds.decide(scores[nth], probability));
        assert_eq!(judged.model, Some(ModelRef { name: FRAUD.into(), version: 3 }));
        assert_eq!(judged.degraded, None);
        // Reasons where it is not approved, the weightiest first, all of them for fraud.
        assert!(judged.reasons.is_empty() || judged.decision != Decision::Approve, "row {nth}");
        assert!(judged.reasons.is_sorted_by(|one, next| one.contribution >= next.contribution));
        assert!(judged.reasons.iter().all(|reason| reason.contribution > 0.0 && reason.feature != "unread"));
        decided[judged.decision as usize] += 1;
        if judged.decision == Decision::Decline {
            let first = &judged.reasons[0];
            let at = vocabulary.place(&first.feature).unwrap();
            assert_eq!(first.value, Some(row.values[at]));
            assert!(first.words.starts_with(&format!("What {} is: ", first.feature)), "{}", first.words);
        }
    }
    assert!(decided.iter().all(|count| *count > 10), "{decided:?}");
}

#[test]
fn what_is_less_than_it_could_be_says_so() {
    let (dataset, vocabulary) = (dataset(1), vocabulary());
    let options = JudgeOptions::default();
    let judge = Judge::new(vocabulary.clone(), options);
    judge.set_rules(rules("cap", "amount_minor > 500", "review", &vocabulary));
    let row = row(&vocabulary, &dataset, 0);
    let said = |features: Features<'_>| {
        let judged = judge.judge(&facts(), features);
        assert_eq!((judged.hits.len(), judged.decision >= Decision::Review), (1, true), "rules always count");
        (judged.degraded, judged.raw.is_some())
    };
    assert_eq!(said(Features::Live(&row)), (Some(Degraded::NoModel), false));
    judge.set_models(Some(served(&model(&dataset), 1, &vocabulary)), None);
    assert_eq!(said(Features::Live(&row)), (None, true));
    assert_eq!(said(Features::LastKnown(&row)), (Some(Degraded::LastKnownFeatures), true));
    assert_eq!(said(Features::Missing), (Some(Degraded::NoFeatures), false));
    // A row of other features is none.
    let mut others = row.names.to_vec();
    others[0].version = 2;
    let other = Row { names: Arc::new(others), ..row.clone() };
    assert_eq!(said(Features::Live(&other)), (Some(Degraded::NoFeatures), false));
    let short = Row { values: Vec::new(), ..row.clone() };
    assert_eq!(said(Features::Live(&short)), (Some(Degraded::NoFeatures), false));
    // The same names in another place of memory are the same.
    let equal = Row { names: Arc::new(row.names.to_vec()), ..row.clone() };
    assert_eq!(said(Features::Live(&equal)), (None, true));
}

#[test]
fn rules_come_on_top_of_the_model_and_a_challenger_decides_nothing() {
    let (dataset, vocabulary) = (dataset(1), vocabulary());
    let model = model(&dataset);
    let stern = Model { threshold: Some(0.0), ..model.clone() };
    let judge = Judge::new(vocabulary.clone(), JudgeOptions::default());
    let rows: Vec<usize> = (0..dataset.rows.label.len()).collect();
    let scores = model.score(&dataset, &rows).unwrap();
    let mildest = rows.into_iter().min_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap();
    let row = row(&vocabulary, &dataset, mildest);
    judge.set_models(Some(served(&model, 1, &vocabulary)), Some(served(&stern, 2, &vocabulary)));
    let judged = judge.judge(&facts(), Features::Live(&row));
    let shadow = judged.shadow.unwrap();
    assert_eq!((judged.decision, shadow.decision), (Decision::Approve, Decision::Review));
    assert_eq!((shadow.model.version, Some(shadow.raw)), (2, judged.raw));
    for (decision, expected) in
        [("approve", Decision::Approve), ("review", Decision::Review), ("decline", Decision::Decline)]
    {
        judge.set_rules(rules("r", "noise >= 0.0", decision, &vocabulary));
        let judged = judge.judge(&facts(), Features::Live(&row));
        assert_eq!(judged.decision, expected);
        assert_eq!((&*judged.hits[0].rule, &*judged.hits[0].words), ("r", "because"));
        let missing = judge.judge(&facts(), Features::Missing);
        assert_eq!((missing.decision, missing.skipped.len()), (Decision::Approve, 1));
    }
}

/// Models and rules change all the time while payments are judged: each judgement is of one model and of one set of rules.
#[test]
fn what_is_put_in_place_meanwhile_is_never_mixed() {
    let vocabulary = vocabulary();
    let datasets = [dataset(1), dataset(2)];
    let models = datasets.each_ref().map(model);
    let rows: Vec<Row> = (0..200).map(|nth| row(&vocabulary, &datasets[0], nth)).collect();
    let nths: Vec<usize> = (0..200).collect();
    let scores = models.each_ref().map(|model| model.score(&datasets[0], &nths).unwrap());
    let options = JudgeOptions::default();
    let served = [served(&models[0], 1, &vocabulary), served(&models[1], 2, &vocabulary)];
    let rules = [
        rules("one", "amount_minor == 1000", "review", &vocabulary),
        rules("two", "amount_minor == 1001", "decline", &vocabulary),
    ];
    let judge = Judge::new(vocabulary.clone(), options);
    judge.set_models(Some(Arc::clone(&served[0])), None);
    judge.set_rules(Arc::clone(&rules[0]));
    let (done, seen) = (AtomicBool::new(false), [(); 4].map(|()| AtomicUsize::new(0)));
    let check = |nth: usize| {
        let judged = judge.judge(&facts(), Features::Live(&rows[nth]));
        let of = usize::try_from(judged.model.unwrap().version).unwrap() - 1;
        let raw = judged.raw.unwrap();
        assert_eq!(raw.to_bits(), scores[of][nth].to_bits());
        let probability = models[of].probability(raw);
        assert_eq!(judged.score, Some(probability));
        let by = usize::from(judged.rules_version != *rules[0].version());
        let hits: Vec<&str> = judged.hits.iter().map(|hit| &*hit.rule).collect();
        assert_eq!(hits, [&["one"][..], &[]][by]);
        let of_model = Thresholds::of(&models[of], &options.decide).decide(raw, probability);
        assert_eq!(judged.decision, combined(of_model, judged.hits.iter().map(|hit| hit.decision)));
        seen[2 * of + by].fetch_add(1, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut nths = nths.iter().cycle();
                while !done.load(Ordering::Acquire) {
                    nths.next().copied().into_iter().for_each(check);
                }
            });
        }
        // Until every pair has judged a hundred payments.
        let (mut at, begun) = (0, Instant::now());
        while seen.iter().any(|count| count.load(Ordering::Relaxed) < 100) && begun.elapsed() < PATIENCE {
            at += 1;
            judge.set_models(Some(Arc::clone(&served[at % 2])), Some(Arc::clone(&served[(at + 1) % 2])));
            judge.set_rules(Arc::clone(&rules[(at / 2) % 2]));
            std::thread::yield_now();
        }
        done.store(true, Ordering::Release);
    });
    assert!(seen.iter().all(|count| count.load(Ordering::Relaxed) >= 100), "{seen:?}");
}
