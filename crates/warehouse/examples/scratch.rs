#![allow(clippy::print_stdout, clippy::unwrap_used)]
use affluent_lake::sql::{Engine, EngineOptions, Pins};
use affluent_lake::{Lake, LakeOptions};
use affluent_warehouse::batch::{Batch, BatchOptions, RawToDwh, TASKS, Unfenced};
use std::time::Instant;

#[tokio::main]
async fn main() {
    let a: Vec<String> = std::env::args().collect();

    let lake =
        Lake::open(LakeOptions { warehouse: a[1].clone().into(), ..LakeOptions::default() }).await.unwrap();
    match a[2].as_str() {
        "sql" => {
            let s =
                Engine::new(lake, EngineOptions::default()).unwrap().session(Pins::default()).await.unwrap();
            let t = Instant::now();
            println!("{}", s.explain(&a[3], a.len() > 4).await.unwrap());
            println!("{:?}", t.elapsed());
        }
        what => {
            let batch = Batch::new(lake, BatchOptions::default()).unwrap();
            let p = if what == "full" { RawToDwh::rebuild(batch) } else { RawToDwh::increments(batch) };
            let all = Instant::now();
            for task in TASKS {
                if a.len() > 3 && a[3] != *task {
                    continue;
                }
                let t = Instant::now();
                let r = p.task(task, 1, &Unfenced).await;
                println!("{task} {:?} {:?}", t.elapsed(), r);
                if r.is_err() {
                    break;
                }
            }
            println!("all {:?}", all.elapsed());
        }
    }
}
