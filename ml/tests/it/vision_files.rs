//! Models of images whose files are missing, damaged, or do not fit together: each is refused by a sentence that names what is
//! wrong.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use arrow::array::StringArray;
use candle_core::Device;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;
use vatic_ml::Error;
use vatic_ml::artifact::Loader;
use vatic_ml::model::compute::{ComputeType, LoadOptions};
use vatic_ml::pretrained::{PretrainedLoader, TextTowerLoader};

use super::directories::{Copied, files, open};
use super::vision::{MODELS, batch, open_texts, run};

fn copied(model: &str) -> Copied {
    Copied::of(&Path::new(MODELS).join(model))
}

/// Replaces a tensor, or leaves it out.
fn with_tensor(copied: Copied, name: &str, tensor: Option<(Dtype, &[usize], &[u8])>) -> Copied {
    let file = copied.path("model.safetensors");
    let content = fs::read(&file).unwrap();
    let tensors = SafeTensors::deserialize(&content).unwrap();
    let mut all: BTreeMap<String, TensorView<'_>> = tensors.tensors().into_iter().collect();
    all.remove(name);
    if let Some((dtype, shape, bytes)) = tensor {
        let view = TensorView::new(dtype, shape.to_vec(), bytes).unwrap();
        all.insert(name.into(), view);
    }
    let changed = safetensors::serialize(all, None).unwrap();
    fs::write(&file, changed).unwrap();
    copied
}

#[test]
fn towers_of_texts_need_their_tokenizer() {
    assert!(!TextTowerLoader.takes(&files(&Path::new(MODELS).join("clip")).unwrap()));
    let error = |changed: &Copied| open_texts(changed.directory()).unwrap_err().to_string();
    let changed = copied("clip");
    fs::remove_file(changed.path("tokenizer.json")).unwrap();
    assert!(error(&changed).contains("tokenizer.json: the directory has no such file"));
    let changed = copied("clip");
    fs::write(changed.path("tokenizer.json"), "{}").unwrap();
    assert!(error(&changed).starts_with("tokenizer.json: "));
    let short = copied("clip").with("config.json", |config| {
        config["text_config"]["max_position_embeddings"] = json!(2);
    });
    let expected = "tokenizer.json: adds 2 tokens to each text, the model takes 2";
    assert_eq!(error(&short), expected);
    let large = copied("clip").with("config.json", |config| {
        config["text_config"]["vocab_size"] = json!(1_000_000);
    });
    assert!(error(&large).contains("token_embedding.weight\" is F16 of shape [196, 12], expected"));
    let expected = "ViTForImageClassification has no tower of texts";
    assert!(error(&copied("vit")).contains(expected));
    // A token that the model does not know is a failure of its row.
    let changed = copied("siglip").with("tokenizer.json", |tokenizer| {
        tokenizer["model"]["vocab"]["z"] = json!(5_000);
    });
    let model = open_texts(changed.directory()).unwrap();
    let outputs = run(model.as_ref(), &batch(StringArray::from(vec!["a", "zz"])));
    let failures = &outputs.report.failures;
    let [(1, cause)] = failures.as_slice() else {
        panic!("{failures:?}")
    };
    assert!(
        cause.contains("its token 5000 is none of the 96"),
        "{cause}"
    );
}

#[test]
fn damaged_weights_are_refused_by_the_name_of_the_tensor() {
    let bias = "classifier.bias";
    let numbers = [0u8; 12];
    for (tensor, expected) in [
        (None, "tensor \"classifier.bias\" is missing"),
        (
            Some((Dtype::F32, &[1, 3][..], &numbers[..])),
            "tensor \"classifier.bias\" is F32 of shape [1, 3], expected F32, F16 or BF16 of shape [3]",
        ),
        (
            Some((Dtype::I32, &[3][..], &numbers[..])),
            "\"classifier.bias\" is I32 of shape [3]",
        ),
    ] {
        let error = with_tensor(copied("vit"), bias, tensor).error();
        assert!(matches!(error, Error::Corrupt(_)));
        assert!(error.to_string().contains(expected), "{error}");
    }
    let more = Some((Dtype::F32, &[3][..], &numbers[..]));
    let error = with_tensor(copied("vit"), "vit.registers", more).error();
    let expected = "tensor \"vit.registers\" is not expected; ViTForImageClassification has no";
    assert!(error.to_string().contains(expected), "{error}");
    // The numbers of batches of a training have no effect.
    let counter = Some((Dtype::I32, &[3][..], &numbers[..]));
    let name = "resnet.embedder.embedder.normalization.num_batches_tracked";
    let counted = with_tensor(copied("resnet_basic"), name, counter);
    assert!(open(counted.directory()).is_ok());
}

#[test]
fn descriptions_that_do_not_fit_are_refused() {
    for (model, name, value, expected) in [
        (
            "vit",
            "num_hidden_layers",
            json!(1_000_000_000),
            "num_hidden_layers is 1000000000; expected a whole number from 1 to 1000",
        ),
        (
            "vit",
            "num_hidden_layers",
            json!(3),
            "tensor \"vit.encoder.layer.2.attention.attention.query.weight\" is missing",
        ),
        (
            "vit",
            "num_hidden_layers",
            json!(1),
            "tensor \"vit.encoder.layer.1.attention.attention.key.bias\" is not expected",
        ),
        (
            "vit",
            "hidden_size",
            json!(24),
            "expected F32, F16 or BF16 of shape [24, 3, 8, 8]",
        ),
        (
            "vit",
            "num_attention_heads",
            json!(5),
            "num_attention_heads is 5, which does not divide the width 12",
        ),
        (
            "vit",
            "image_size",
            json!(64),
            "image_size is [64, 64], the image processor makes images of 32 x 32",
        ),
        (
            "vit",
            "hidden_act",
            json!("mish"),
            "hidden_act is \"mish\", which is not supported",
        ),
        (
            "vit",
            "num_channels",
            json!(2),
            "num_channels is 2; expected 1 or 3",
        ),
        (
            "vit",
            "id2label",
            json!({"0": "a", "1": "b"}),
            "id2label has 2 names, the model has 3 outputs",
        ),
        (
            "vit",
            "problem_type",
            json!("regression"),
            "config.json: regression is not supported",
        ),
        (
            "vit",
            "architectures",
            json!(["ViTForMaskedImageModeling"]),
            "the architecture ViTForMaskedImageModeling is not supported; this build opens ResNetForImageClassification",
        ),
        ("vit", "architectures", json!([]), ""),
        (
            "resnet_basic",
            "depths",
            json!([1]),
            "depths and hidden_sizes have different lengths",
        ),
        (
            "resnet_basic",
            "layer_type",
            json!("wide"),
            "layer_type is \"wide\"; expected basic or bottleneck",
        ),
        (
            "resnet_basic",
            "hidden_sizes",
            json!([8, 0]),
            "hidden_sizes is [8,0]; expected a list",
        ),
        (
            "convnext",
            "num_stages",
            json!(3),
            "num_stages is 3, depths and hidden_sizes have other lengths",
        ),
        (
            "mobilenet_v2",
            "output_stride",
            json!(16),
            "output_stride is 16",
        ),
        (
            "efficientnet",
            "depth_coefficient",
            json!(1e12),
            "depth_coefficient is 1000000000000",
        ),
        (
            "efficientnet",
            "pooling_type",
            json!("max"),
            "pooling_type is \"max\", and this build opens only",
        ),
        (
            "timm_resnet18",
            "architecture",
            json!("resnet18d"),
            "the architecture resnet18d is not supported; this build opens resnet18",
        ),
        (
            "timm_resnet18",
            "global_pool",
            json!("catavgmax"),
            "global_pool \"catavgmax\" of resnet18 is not supported; avg is",
        ),
        (
            "timm_resnet18",
            "model_args",
            json!({"global_pool": "max"}),
            "global_pool \"max\" of resnet18 is not supported; avg is",
        ),
        (
            "timm_vit",
            "model_args",
            json!({"global_pool": "map"}),
            "global_pool \"map\" of",
        ),
        (
            "timm_resnet18",
            "model_args",
            json!({"output_stride": 8}),
            "the argument output_stride of resnet18 in model_args",
        ),
        ("timm_resnet18", "architecture", json!("resnet34"), ""),
        (
            "timm_vit",
            "model_args",
            json!({"num_heads": 5}),
            "num_attention_heads is 5, which does not divide",
        ),
    ] {
        let changed = copied(model).with("config.json", |config| config[name] = value);
        if expected.is_empty() {
            // What the weights say, or the type of the model, is enough.
            assert!(open(changed.directory()).is_ok(), "{model}: {name}");
            continue;
        }
        let error = changed.error();
        let text = error.to_string();
        assert!(text.contains(expected), "{model}: {text}");
        if ["not supported", "opens only"]
            .iter()
            .any(|words| text.contains(words))
        {
            assert!(matches!(error, Error::Unsupported(_)), "{text}");
        }
    }
}

#[test]
fn images_that_are_too_small_for_a_network_are_refused_when_it_is_opened() {
    let processor = json!({"do_resize": true, "size": {"height": 4, "width": 4}, "resample": 2, "do_normalize": false});
    let changed = copied("convnext").with("preprocessor_config.json", |old| *old = processor);
    let error = changed.error();
    assert!(matches!(error, Error::Unsupported(_)));
    let expected = "too small for the model: layer convnext.encoder.stages.1.downsampling_layer.1 gets 1 x 1 pixels";
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn files_that_are_missing_or_execute_code_are_named() {
    let changed = copied("vit");
    let weights = changed.path("model.safetensors");
    fs::rename(&weights, changed.path("pytorch_model.bin")).unwrap();
    let error = changed.error();
    assert!(matches!(error, Error::Unsupported(_)));
    assert!(
        error
            .to_string()
            .contains("pytorch_model.bin, a pickle, which executes code")
    );
    let changed = copied("vit");
    fs::remove_file(changed.path("preprocessor_config.json")).unwrap();
    let error = changed.error().to_string();
    assert!(error.contains("preprocessor_config.json: the directory has no such file"));
    let options = LoadOptions {
        device: Device::Cpu,
        compute: Some(ComputeType::F64),
    };
    let files = files(&Path::new(MODELS).join("vit")).unwrap();
    let error = PretrainedLoader.load(&files, &options).unwrap_err();
    assert!(error.to_string().contains("compute in f32, not f64"));
}
