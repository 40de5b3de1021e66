//! Parts of images: where they lie, and who sees which.

use std::sync::Arc;

use trellis_data::Images;
use trellis_guidance::{BatchSource, Batches, Crop, Dataset, Error, Fcn, Network, Trainer, Training};
use trellis_tensor::{Graph, Plan, Result, StepState, Tensor, Var};

use crate::gpu;

/// Images whose first channel is the row and whose second the column of a pixel, plus 100 times the image's number.
fn places(count: usize, height: usize, width: usize) -> Vec<f32> {
    let place = |at: usize| [at / width % height, at % width][at / (height * width) % 2];
    (0..count * 2 * height * width).map(|at| (place(at) + 100 * (at / (2 * height * width))) as f32).collect()
}

/// Result of `crop` for two such images at a step: for each the rows and the columns that it shows.
fn shown(
    [height, width]: [usize; 2],
    step: u32,
    crop: impl for<'g> Fn(Var<'g>, Var<'g>) -> Result<Var<'g>>,
) -> Vec<[Vec<f32>; 2]> {
    let images = Tensor::from_f32(&gpu(), "places", [2, 2, height, width], &places(2, height, width)).expect("fits");
    let (graph, step_state) = (Graph::new(), StepState::new(&gpu()).expect("fits"));
    step_state.set(step).expect("a device");
    let y = crop(graph.leaf(&images), graph.leaf(step_state.tensor())).expect("legal");
    let size = y.shape()[3];
    let plan = Plan::new(&gpu(), &graph, &[y]).expect("fits");
    plan.run(1).expect("works");
    let values = plan.read(y).expect("kept");
    let one = |(number, image): (usize, &[f32])| {
        let (rows, columns) = image.split_at(size * size);
        let own = |value: &f32| value - 100.0 * number as f32;
        // A box is upright: each row shows one row, each column one column.
        let near = |a: f32, b: f32| (a - b).abs() < 1e-3;
        assert!(rows.chunks(size).all(|row| row.iter().all(|&v| near(v, row[0]))));
        assert!(columns.chunks(size).all(|row| row.iter().zip(columns).all(|(&a, &b)| near(a, b))));
        [rows.iter().step_by(size).map(own).collect(), columns[..size].iter().map(own).collect()]
    };
    values.chunks(2 * size * size).enumerate().map(one).collect()
}

#[test]
fn a_random_crop_is_a_box_of_whole_pixels_and_reaches_every_corner() {
    let mut tops = Vec::new();
    for step in 0..40 {
        for [rows, columns] in shown([9, 7], step, |x, step_state| x.random_crop(step_state, 6, 3)) {
            for (places, most) in [(&rows, 3.0), (&columns, 1.0)] {
                assert!(places.windows(2).all(|pair| pair[1] == pair[0] + 1.0), "{places:?}");
                assert!((0.0..=most).contains(&places[0]) && places[0].fract() == 0.0);
            }
            tops.push([rows[0] as usize, columns[0] as usize]);
        }
    }
    for top in 0..4 {
        for left in 0..2 {
            assert!(tops.contains(&[top, left]), "no box begins at {top}, {left}");
        }
    }
    assert!(tops.chunks(2).any(|pair| pair[0] != pair[1]), "the images of a batch have boxes of their own");
    // The whole image is one box.
    let whole = shown([6, 6], 1, |x, step_state| x.random_crop(step_state, 6, 3));
    assert_eq!(whole[1][0], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
}

#[test]
fn a_resized_crop_has_the_share_and_the_shape_that_are_asked_for() {
    let (height, width, size) = (40, 30, 20);
    let (mut areas, mut ratios) = (Vec::new(), Vec::new());
    for step in 0..60 {
        for [rows, columns] in
            shown([height, width], step, |x, step_state| x.random_resized_crop(step_state, size, [0.2, 0.4], 1))
        {
            // Evenly spaced but where the image's edge goes on, half a pixel at most.
            let side = |places: &[f32]| f64::from(places[size - 4] - places[3]) / (size - 7) as f64 * size as f64;
            let (tall, wide) = (side(&rows), side(&columns));
            for (places, whole) in [(&rows, height), (&columns, width)] {
                assert!(places[0] >= 0.0 && places[size - 1] <= (whole - 1) as f32);
                let step = (places[size - 4] - places[3]) / (size - 7) as f32;
                assert!(places[2..size - 2].windows(2).all(|pair| (pair[1] - pair[0] - step).abs() < 1e-3));
            }
            areas.push(tall * wide / (height * width) as f64);
            ratios.push(wide / tall);
        }
    }
    let range = |values: &[f64]| values.iter().fold((f64::MAX, f64::MIN), |(l, h), &v| (l.min(v), h.max(v)));
    let ((least, most), (narrow, broad)) = (range(&areas), range(&ratios));
    assert!((0.199..0.23).contains(&least) && (0.37..0.401).contains(&most), "areas {least} to {most}");
    assert!((0.749..0.80).contains(&narrow) && (1.25..1.334).contains(&broad), "ratios {narrow} to {broad}");
    // All of a square, larger or smaller: the places of pixel centers.
    for (size, wanted) in [(4, vec![0.5, 2.5, 4.5, 6.5]), (16, (0..16).map(|i| i as f32 / 2.0 - 0.25).collect())] {
        // A box as large as the image is cut to it, whatever its shape; look for one that is not.
        let all = (0..200).flat_map(|step| {
            shown([8, 8], step, |x, step_state| x.random_resized_crop(step_state, size, [1.0, 1.0], 1))
        });
        let square = all.map(|[rows, _]| rows).min_by(|a, b| {
            let off = |rows: &[f32]| (rows[size / 2] - wanted[size / 2]).abs();
            off(a).total_cmp(&off(b))
        });
        let square = square.expect("boxes");
        assert!(square.iter().zip(&wanted).all(|(a, b)| (a - b.clamp(0.0, 7.0)).abs() < 0.05), "{square:?}");
    }
}

#[test]
fn a_box_that_does_not_fit_is_refused() {
    let images = Tensor::from_f32(&gpu(), "places", [2, 2, 5, 4], &places(2, 5, 4)).expect("fits");
    let (graph, step_state) = (Graph::new(), StepState::new(&gpu()).expect("fits"));
    let (x, now) = (graph.leaf(&images), graph.leaf(step_state.tensor()));
    assert!(x.random_crop(now, 4, 1).is_ok() && x.random_resized_crop(now, 9, [0.5, 1.0], 1).is_ok());
    let message = x.random_crop(now, 5, 1).expect_err("4 wide").to_string();
    assert!(message.contains("5 x 4") && message.contains("5 x 5"), "{message}");
    assert!(x.random_crop(now, 0, 1).is_err() && x.random_crop(x, 2, 1).is_err());
    for share in [[0.0, 1.0], [0.5, 0.4], [0.5, 1.1], [f32::NAN, 1.0], [0.5, f32::INFINITY]] {
        assert!(x.random_resized_crop(now, 4, share, 1).is_err(), "{share:?}");
    }
}

/// Images of 10 x 8 of which networks see 6 x 6: the middle in evaluations and without augmentation, else another box.
#[test]
fn networks_see_parts_of_what_is_stored() {
    let count = 40;
    let pixels = (0..count * 80).map(|at| (at * 7 % 251) as u8).collect();
    let labels = (0..count).map(|at| (at % 3) as u16).collect();
    let images = Images { channels: 1, height: 10, width: 8, pixels, labels, classes: 3, name: "parts".to_string() };
    let streamed = Arc::new(images.clone());
    let resident = Dataset::new(&gpu(), &images, None, Some(&images)).expect("fits");
    let streamed = Dataset::stream(&gpu(), streamed.clone(), None, Some(streamed), false).expect("fits");
    assert!(matches!(resident.clone().cropped(9), Err(Error::Config { .. })) && resident.clone().cropped(0).is_err());
    let seen = |mut batches: BatchSource<'_>, step: u32| {
        let (graph, step_state) = (Graph::new(), StepState::new(&gpu()).expect("fits"));
        let batch = batches.batch(&graph, &step_state).and_then(|batch| batch.input.images()).expect("images");
        let plan = Plan::new(&gpu(), &graph, &[batch]).expect("fits");
        batches.prepare(step, 1).expect("reads");
        step_state.set(step).expect("a device");
        plan.run(1).expect("works");
        (batch.shape().to_vec(), plan.read(batch).expect("kept"))
    };
    let mut all = Vec::new();
    for data in [resident, streamed] {
        let (_, whole) = seen(BatchSource::shuffled(&data, 5, 2).expect("fits"), 3);
        let data = data.cropped(6).expect("6 of 8");
        let split = data.splits().last().expect("a test split").1;
        let (shape, middle) = seen(BatchSource::shuffled(&data, 5, 2).expect("fits"), 3);
        assert_eq!(shape, [5, 1, 6, 6]);
        for (image, part) in whole.chunks(80).zip(middle.chunks(36)) {
            for (at, value) in part.iter().enumerate() {
                assert_eq!(*value, image[(at / 6 + 2) * 8 + at % 6 + 1]);
            }
        }
        let (shape, first) = seen(BatchSource::sequential(&data, split, 1).expect("fits"), 0);
        assert_eq!(shape, [1, 1, 6, 6]);
        let byte = |at: usize| f32::from(images.pixels[(at / 6 + 2) * 8 + at % 6 + 1]);
        let unit = (first[0] - first[1]) / (byte(0) - byte(1));
        assert!(first.iter().enumerate().all(|(at, v)| (v - first[0] - unit * (byte(at) - byte(0))).abs() < 1e-4));
        let cropped = |crop, step| seen(BatchSource::shuffled(&data, 5, 2).expect("fits").crop(crop), step).1;
        let random = cropped(Crop::Random, 3);
        assert!(random != middle && random == cropped(Crop::Random, 3));
        let resized = cropped(Crop::Resized([0.3, 1.0]), 3);
        assert!(resized != random && resized.len() == random.len());
        all.push((whole, middle, first, random, resized));

        let train = |training| {
            let target = Network::new(Fcn::new(1, 8), &data, 1).expect("fits");
            Trainer::new(&target, &data, training).run()
        };
        let training = Training { batch: 5, crop: Crop::Resized([0.3, 1.0]), ..Training::new(3) };
        assert!(train(training).is_ok());
        let fixed = train(Training { batches: Batches::Fixed, ..training }).expect_err("fixed").to_string();
        assert!(fixed.contains("crop"), "{fixed}");
    }
    assert!(all[0] == all[1], "streamed images have the boxes of resident ones");
}
