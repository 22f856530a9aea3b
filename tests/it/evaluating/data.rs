//! Which pictures are evaluated on, and what their classes are among the network's.

use super::*;

#[test]
fn classes_are_found_by_name_else_by_place_and_never_guessed() {
    let folder = scratch();
    let predictor = fashion();
    let options = EvaluateOptions::default();
    let problem = |predictor: &Predictor, labels| {
        evaluate(predictor, two(folder.path(), labels), &options, &mut |_, _| ()).unwrap_err()
    };
    // Two of ten classes: the list's first is the network's eighth.
    let by_name = run(&predictor, &two(folder.path(), ["Bag", "Coat"]), &options);
    assert_eq!((by_name.top1, by_name.note), (Some(1.0), None));
    assert_eq!((by_name.confusion[8][8], by_name.confusion[4][4]), (1, 1));

    let error = problem(&predictor, ["Bag", "Cat"]);
    assert!(
        matches!(&error, EvaluateError::UnknownClasses { missing, .. } if missing == &["Cat"]),
        "{error}"
    );
    assert!(matches!(
        problem(&predictor, ["bag", "coat"]),
        EvaluateError::ClassCount { found: 2, outputs: 10, .. }
    ));

    let mut names = predictor.categories().to_vec();
    names[0] = "Bag".to_string();
    let ambiguous = fashion().with_categories(names).unwrap();
    assert!(
        matches!(problem(&ambiguous, ["Bag", "Coat"]), EvaluateError::AmbiguousClass { class, .. } if class == "Bag")
    );

    // As many classes with other names: by place, and said so.
    let ten: String = (0..10).map(|class| format!("bag_1.png,{class}\n")).collect();
    std::fs::write(folder.path().join("ten.csv"), format!("path,label\n{ten}")).unwrap();
    let by_place = run(&predictor, &open_evaluation(folder.path().join("ten.csv")).unwrap(), &options);
    assert_eq!(by_place.top1, Some(0.1));
    let note = by_place.note.unwrap();
    assert!(note.contains("by place") && note.contains(r#""0" is output 0, "T-shirt/top""#), "{note}");

    let several = folder.path().join("several.csv");
    std::fs::write(&several, "path,labels\nbag_1.png,Bag|Coat\n").unwrap();
    let error =
        evaluate(&predictor, open_evaluation(several).unwrap(), &options, &mut |_, _| ()).unwrap_err();
    assert!(matches!(error, EvaluateError::SeveralLabels { .. }), "{error}");
}

#[test]
fn an_unreadable_picture_stops_or_is_left_out_and_named() {
    let folder = scratch();
    let dataset = two(folder.path(), ["Bag", "Coat"]);
    let broken = folder.path().join("bag_1.png");
    std::fs::write(&broken, b"\x89PNG\r\n\x1a\n cut short").unwrap();
    let predictor = fashion();
    let stop = EvaluateOptions::default();
    let error = evaluate(&predictor, dataset.clone(), &stop, &mut |_, _| ()).unwrap_err().to_string();
    assert!(error.contains("bag_1.png"), "{error}");
    let mut seen = Vec::new();
    let skip = EvaluateOptions { on_unreadable: OnUnreadable::Skip, ..stop };
    let got = evaluate(&predictor, dataset, &skip, &mut |done, total| seen.push((done, total))).unwrap();
    assert_eq!((got.images, got.top1), (1, Some(1.0)));
    assert!(got.skipped[0].image.ends_with("bag_1.png") && got.skipped.len() == 1);
    assert_eq!(seen.last(), Some(&(2, 2)));
}

#[test]
fn what_is_evaluated_is_never_what_was_trained_on() {
    let folder = scratch();
    let picture = Path::new(PICTURES).join("bag_1.png");
    for part in ["train", "val"] {
        for class in ["Bag", "Coat"] {
            let class = folder.path().join(part).join(class);
            std::fs::create_dir_all(&class).unwrap();
            std::fs::copy(&picture, class.join(format!("{part}.png"))).unwrap();
        }
    }
    let dataset = open_evaluation(folder.path()).unwrap();
    assert!((0..2).all(|index| dataset.name(index).ends_with("val.png")));
    std::fs::remove_dir_all(folder.path().join("val")).unwrap();
    let error = open_evaluation(folder.path()).err().unwrap();
    assert!(matches!(error, DataError::NoValidation { .. }), "{error}");
    assert_eq!(open_evaluation(folder.path().join("train")).unwrap().len(), 2);
}

#[test]
fn a_network_whose_answer_is_no_number_is_said_to_be_damaged() {
    let folder = scratch();
    let loaded = WeightsSource::resolve("fashion_mnist").unwrap().load(Device::Cpu).unwrap();
    let bias = loaded.network.classifier.as_ref().unwrap().bias.shallow_clone();
    let _ = tch::no_grad(|| bias.get(3).fill_(f64::NAN));
    let predictor = Predictor::new(
        &loaded.network,
        loaded.description.transforms.unwrap(),
        loaded.description.categories,
    )
    .unwrap();
    let dataset = two(folder.path(), ["Bag", "Coat"]);
    let error = evaluate(&predictor, dataset, &EvaluateOptions::default(), &mut |_, _| ()).unwrap_err();
    assert!(matches!(&error, EvaluateError::NotFinite { image } if image.ends_with("bag_1.png")), "{error}");
}
