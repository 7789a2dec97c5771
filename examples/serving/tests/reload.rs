//! Checks, through the routes of the server, that a hot reload frees the old model.

use afterdrop::Check;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use serving::{PIXELS, Server, app};
use tower::ServiceExt;

#[global_allocator]
static HEAP: afterdrop::Heap = afterdrop::Heap::new();

fn server() -> Router {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/burn/mlp.bpk");
    app(Server::open(model).expect("the model in fixtures loads"))
}

async fn post(app: &Router, path: &str, body: &Value) -> (StatusCode, Value) {
    let request = Request::post(path)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .expect("a request");
    let response = app.clone().oneshot(request).await.expect("an answer");
    let status = response.status();
    let bytes = response.into_body().collect().await.expect("a body");
    let answer = serde_json::from_slice(&bytes.to_bytes());
    (status, answer.unwrap_or(Value::Null))
}

#[test]
fn a_hot_reload_frees_the_old_model() {
    let app = server();
    let image = json!({ "pixels": vec![0.5_f32; PIXELS] });
    let check = Check::new("hot reload").cycles(20);
    check.run_async(async |cycle| {
        let (status, answer) = cycle.load_async(post(&app, "/reload", &Value::Null)).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(answer["version"], u64::from(cycle.number()) + 1);
        let (status, answer) = cycle.infer_async(post(&app, "/predict", &image)).await;
        assert_eq!(status, StatusCode::OK);
        let classes = answer["probabilities"].as_array().expect("classes");
        let sum: f64 = classes.iter().filter_map(Value::as_f64).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{answer}");
    });
}

#[test]
fn a_refused_request_retains_nothing() {
    let app = server();
    let image = json!({ "pixels": [1.0, 2.0] });
    let check = Check::new("refused").cycles(20);
    check.run_async(async |cycle| {
        let (status, _) = cycle.infer_async(post(&app, "/predict", &image)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    });
}
