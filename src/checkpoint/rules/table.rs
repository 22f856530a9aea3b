//! The table.
//!
//! Order matters: a name goes through the rules from first to last, and where several rules that fired know the input or
//! the outputs, the first of them counts. Refusals and leftovers come first, then names, heads and marks.

use super::presets::{self, CHEST_XRAY_14, XRAYVISION_LABELS};
use super::Action::{Drop, Head, Mark, Refuse, Rename};
use super::Need::{Global, Name, NoName, OutputsUnknown, Root, Shape};
use super::{Need, RenameRule};

/// `dense1.0.bn1` of bamos and kuangliu, `block1.layer.0.bn1` of andreasveit.
const DENSE: &str = r"(?:^|\.)dense[0-9]+\.[0-9]+\.(?:bn|conv)[12]\.";
const BLOCK: &str = r"(?:^|\.)block[0-9]+\.layer\.[0-9]+\.(?:bn|conv)[12]\.";
const DENSE_OR_BLOCK: &[Need] =
    &[Name(r"(?:^|\.)(?:dense[0-9]+\.[0-9]+|block[0-9]+\.layer\.[0-9]+)\.(?:bn|conv)[12]\.")];
const KUANGLIU_TRANSITION: &str = r"(?:^|\.)trans[0-9]+\.(?:bn|conv)\.";
const STAGES: &[Need] = &[Name(r"(?:^|\.)stages\.[0-9]+\.block\.[0-9]+\.(?:norm|conv)[12]\.")];
const FASTAI: &[Need] = &[Name(r"^(?:module\.|model\.)?0\.(?:0|model)\.(?:features\.)?denseblock1\.")];
const JFHEALTHCARE: &[Need] =
    &[Shape(r"(?:^|\.)fc_0\.weight$", &[0, 0, 1, 1]), Name(r"(?:^|\.)bn_0\.running_mean$")];
const FEATURES: &str = r"(?:^|\.)features\.(?:(?:module|_orig_mod)\.)?denseblock[0-9]";
const GRAY_CONV0: Need = Shape(r"(?:^|\.)features\.conv0\.weight$", &[0, 1, 7, 7]);
/// The mark rules look at one tensor that every network has.
const NORM5: &str = r"^features\.norm5\.weight$";
const CLASSIFIER: &str = r"^classifier\.weight$";

const SIGMOID: &[&str] = &[];
const SIGMOID_NOTE: &str = "a sigmoid follows the classifier: its outputs are independent labels";

/// Every rule, in the order of application.
pub static RENAMES: &[RenameRule] = &[
    // --- what cannot be expressed ---
    RenameRule::new(
        "R9",
        "weiaicunzai/pytorch-cifar100",
        r"dense_block(?:_layer_)?[0-9]+\.bottle_neck_layer_",
        Refuse(
            "its transitions have no ReLU between norm and convolution, so its outputs are not those of a DenseNet with \
             these weights. Train torchvision's network instead, or keep running this one in Python",
        ),
    )
    .example("features.dense_block_layer_0.bottle_neck_layer_0.bottle_neck.0.weight"),
    RenameRule::new(
        "pruned",
        "",
        r"_orig$",
        Refuse(
            "the network is pruned, its weights are products of two tensors: call \
             torch.nn.utils.prune.remove(module, name) on every pruned module in Python and save again",
        ),
    )
    .needs(&[Name(r"_mask$")]),
    RenameRule::new(
        "weight-norm",
        "",
        r"\.weight_[gvu]$|(?:^|\.)parametrizations\.",
        Refuse(
            "the network has weight norm or another parametrization, its weights are computed from several tensors: call \
             torch.nn.utils.parametrize.remove_parametrizations or remove_weight_norm in Python and save again",
        ),
    ),
    RenameRule::new(
        "lora",
        "",
        r"(?:^|\.)lora_(?:[AB]|down|up|embedding)",
        Refuse("the file holds low-rank adapters: merge them into the network (merge_and_unload) in Python and save again"),
    ),
    RenameRule::new(
        "fsdp",
        "",
        r"(?:^|[._])flat_param(?:$|[._])",
        Refuse("the file is a shard of an FSDP run: save a full state dict (StateDictType.FULL_STATE_DICT) in Python"),
    ),
    RenameRule::new(
        "quantized",
        "",
        r"(?:^|\.)_packed_params",
        Refuse("the network is quantized, which torchvision's DenseNet never is: save the float network it was made from"),
    ),
    // --- what belongs to training or measuring, or is a head that is no classifier ---
    RenameRule::new("thresholds", "torchxrayvision", r"(?:^|\.)op_threshs$", Drop("torchxrayvision's thresholds")),
    RenameRule::new("averaging", "", r"(?:^|\.)n_averaged$", Drop("weight averaging's counter")),
    RenameRule::new("R14", "", r"(?:^|\.)queue[^.]*$", Drop("contrastive training's queue")),
    RenameRule::new("R14.key", "MoCo", r"(?:^|\.)encoder_k\.", Drop("the slowly moving copy of contrastive training"))
        .needs(&[Name(r"(?:^|\.)encoder_q\.")])
        .example("module.encoder_k.features.conv0.weight"),
    RenameRule::new(
        "R14.head",
        "MoCo",
        r"(?:^|\.)encoder_q\.(?:classifier|fc)\.",
        Drop("a projection of contrastive training, not classes"),
    )
    .note("self-supervised: the backbone alone is used, its head is a projection and no classifier")
    .example("module.encoder_q.classifier.weight"),
    RenameRule::new("criterion", "", r"(?:^|\.)criterion\.", Drop("a loss")),
    RenameRule::new("loss", "", r"(?:^|\.)loss[^.]*\.", Drop("a loss")),
    RenameRule::new("pos-weight", "", r"(?:^|\.)pos_weight$", Drop("a loss's class weights")),
    RenameRule::new(
        "metric",
        "",
        r"(?:^|\.)(?:[a-z0-9]+_)*(?:metrics?|acc|accuracy|auroc|auc|f1|confmat)(?:_[a-z0-9]+)*\.",
        Drop("a metric's state"),
    ),
    RenameRule::new("preprocessor", "", r"(?:^|\.)data_preprocessor\.(?:mean|std)$", Drop("the input's mean or deviation")),
    RenameRule::new("counters", "", r"(?:^|\.)total_(?:ops|params)$", Drop("an operation counter")),
    RenameRule::new("scratch", "efficient_densenet_pytorch", r"(?:^|\.)CatBN_output_buffer$", Drop("a scratch buffer")),
    RenameRule::new(
        "R11.head",
        "fastai",
        r"^(?:module\.|model\.)?1\.[0-9]+\.(?:weight|bias|running_mean|running_var|num_batches_tracked)$",
        Drop("fastai's head"),
    )
    .needs(FASTAI)
    .note(
        "fastai: the backbone alone is used. Its head reads maximum and average pooling side by side, without the ReLU \
         after norm5, and cannot become a classifier",
    )
    .example("1.8.weight"),
    RenameRule::new(
        "jfhealthcare.head",
        "jfhealthcare",
        r"(?:^|\.)(?:fc_[0-9]+|bn_[0-9]+|attention_map)\.",
        Drop("one of jfhealthcare's heads"),
    )
    .needs(JFHEALTHCARE)
    .input(&presets::JFHEALTHCARE)
    .note("jfhealthcare: the backbone alone is used, its heads are convolutions over pooling of their own")
    .example("fc_0.weight"),
    RenameRule::new(
        "jfhealthcare.unused",
        "jfhealthcare",
        r"(?:^|\.)backbone\.classifier\.",
        Drop("ImageNet's classifier, which jfhealthcare's network never uses"),
    )
    .needs(JFHEALTHCARE),
    RenameRule::new(
        "segmentation",
        "segmentation_models_pytorch",
        r"(?:^|\.)(?:decoder|segmentation_head|classification_head)\.",
        Drop("a segmentation network's decoder or head"),
    )
    .needs(&[Name(r"(?:^|\.)segmentation_head\.")])
    .note("a segmentation network: its encoder alone is used, there is no classifier")
    .example("segmentation_head.0.weight"),
    // --- names ---
    RenameRule::new("inner-wrapper", "", r"^features\.(?:module|_orig_mod)\.", Rename("features.")),
    RenameRule::new(
        "R13",
        "timm features_only",
        r"^features_(conv|norm|denseblock|transition)",
        Rename("features.${1}"),
    )
    .example("features_denseblock1.denselayer1.norm1.weight"),
    RenameRule::new(
        "R11",
        "",
        r"^(conv[0-9]|norm[0-9]|norm_final|denseblock[0-9]+|transition[0-9]+)\.",
        Rename("features.${1}."),
    )
    .needs(&[Name(r"(?:^|\.)denseblock[0-9]+\.denselayer[0-9]+\."), NoName(FEATURES)])
    .example("0.0.denseblock1.denselayer1.norm1.weight"),
    // torchvision's own loader leaves num_batches_tracked under its dotted name and then fails; we rename it.
    RenameRule::new(
        "R1",
        "torchvision up to 0.2",
        r"(denselayer[0-9]+\.)(norm|relu|conv)\.([12])\.",
        Rename("${1}${2}${3}."),
    )
    .example("features.denseblock1.denselayer1.norm.1.weight"),
    RenameRule::new("R2", "MONAI", r"(denselayer[0-9]+)\.layers\.", Rename("${1}."))
        .example("features.denseblock1.denselayer1.layers.norm1.weight"),
    RenameRule::new("R3", "MONAI", r"^class_layers\.(?:out|class)\.", Rename("classifier."))
        .note("MONAI fixes no input: pictures go through torchvision's preset unless a sidecar says otherwise")
        .example("class_layers.out.weight"),
    RenameRule::new("R4", "efficient_densenet_pytorch", r"^features\.norm_final\.", Rename("features.norm5."))
        .example("features.norm_final.weight"),
    RenameRule::new(
        "R5",
        "efficient_densenet_pytorch",
        r"(denselayer[0-9]+)\.bn\.(norm|conv)_(weight|bias|running_mean|running_var)$",
        Rename("${1}.${2}1.${3}"),
    )
    .example("features.denseblock1.denselayer1.bn.norm_weight"),
    RenameRule::new(
        "R6.norm",
        "",
        r"^dense([0-9]+)\.([0-9]+)\.bn([12])\.",
        Rename("features.denseblock${1}.denselayer${2+1}.norm${3}."),
    )
    .example("dense1.0.bn1.weight"),
    RenameRule::new(
        "R6.conv",
        "",
        r"^dense([0-9]+)\.([0-9]+)\.conv([12])\.",
        Rename("features.denseblock${1}.denselayer${2+1}.conv${3}."),
    )
    .example("dense1.0.conv1.weight"),
    RenameRule::new(
        "R7.norm",
        "",
        r"^block([0-9]+)\.layer\.([0-9]+)\.bn([12])\.",
        Rename("features.denseblock${1}.denselayer${2+1}.norm${3}."),
    )
    .example("block1.layer.0.bn1.weight"),
    RenameRule::new(
        "R7.conv",
        "",
        r"^block([0-9]+)\.layer\.([0-9]+)\.conv([12])\.",
        Rename("features.denseblock${1}.denselayer${2+1}.conv${3}."),
    )
    .example("block1.layer.0.conv1.weight"),
    RenameRule::new("R6.trans-norm", "", r"^trans([0-9]+)\.bn1?\.", Rename("features.transition${1}.norm."))
        .needs(DENSE_OR_BLOCK),
    RenameRule::new("R6.trans-conv", "", r"^trans([0-9]+)\.conv1?\.", Rename("features.transition${1}.conv."))
        .needs(DENSE_OR_BLOCK),
    RenameRule::new("R6.first", "", r"^conv1\.", Rename("features.conv0.")).needs(DENSE_OR_BLOCK),
    RenameRule::new("R6.last", "", r"^bn1?\.", Rename("features.norm5.")).needs(DENSE_OR_BLOCK),
    RenameRule::new("R10.stem", "mmpretrain", r"^stem\.0\.", Rename("features.conv0.")).needs(STAGES),
    RenameRule::new("R10.stem-norm", "mmpretrain", r"^stem\.1\.", Rename("features.norm0.")).needs(STAGES),
    RenameRule::new(
        "R10",
        "mmpretrain",
        r"^stages\.([0-9]+)\.block\.([0-9]+)\.",
        Rename("features.denseblock${1+1}.denselayer${2+1}."),
    )
    .input(&presets::MMPRETRAIN)
    .example("backbone.stages.0.block.0.norm1.weight"),
    RenameRule::new(
        "R10.transition",
        "mmpretrain",
        r"^transitions\.([0-9]+)\.(norm|conv)\.",
        Rename("features.transition${1+1}.${2}."),
    )
    .needs(STAGES),
    RenameRule::new("R10.last", "mmpretrain", r"^transitions\.[0-9]+\.0\.", Rename("features.norm5.")).needs(STAGES),
    RenameRule::new("R10.head", "mmpretrain", r"^head\.fc\.", Rename("classifier.")).needs(STAGES),
    // --- heads ---
    RenameRule::new(
        "R12",
        "",
        r"^(?:last_linear|fc|head|linear|(?:classifier|head|fc)\.(?:[0-9]+|fc|linear|out))\.(?:weight|bias)$",
        Head,
    ),
    // --- whose it is, and what comes with that ---
    RenameRule::new("torchxrayvision", "torchxrayvision", CLASSIFIER, Mark)
        .needs(&[GRAY_CONV0, Shape(r"(?:^|\.)classifier\.weight$", &[18, 0])])
        .input(&presets::XRAYVISION)
        .labels(XRAYVISION_LABELS)
        .note(
            "chest X-rays, gray, scaled to ±1024; outputs are independent labels. The library's calibration by \
             thresholds is not applied; networks trained on one data set leave some outputs untrained",
        ),
    RenameRule::new("torchxrayvision.other", "torchxrayvision", NORM5, Mark)
        .needs(&[Global("torchxrayvision."), GRAY_CONV0])
        .input(&presets::XRAYVISION),
    RenameRule::new("chexnet", "CheXNet", CLASSIFIER, Mark)
        .needs(&[Shape(r"(?:^|\.)classifier\.0\.weight$", &[14, 0])])
        .input(&presets::IMAGENET)
        .labels(CHEST_XRAY_14)
        .note("a sigmoid follows the classifier: its outputs are independent labels. The authors average ten crops"),
    RenameRule::new("sigmoid", "", CLASSIFIER, Mark)
        .needs(&[
            Name(r"(?:^|\.)classifier\.0\.weight$"),
            Global("torch.nn.modules.activation.Sigmoid"),
            OutputsUnknown,
        ])
        .labels(SIGMOID)
        .note(SIGMOID_NOTE),
    RenameRule::new("maybe-sigmoid", "", CLASSIFIER, Mark).needs(&[Name(r"(?:^|\.)classifier\.0\.weight$"), OutputsUnknown]).note(
        "the classifier is the first of several modules: if a sigmoid follows it, set \"outputs\": \"labels\" in the \
         sidecar",
    ),
    RenameRule::new("mura", "DenseNet-MURA", CLASSIFIER, Mark)
        .needs(&[Shape(r"(?:^|\.)fc\.weight$", &[1, 1664])])
        .input(&presets::IMAGENET)
        .labels(&["abnormal"])
        .note(SIGMOID_NOTE),
    RenameRule::new("places365", "places365", CLASSIFIER, Mark)
        .needs(&[Shape(r"(?:^|\.)classifier\.weight$", &[365, 2208])])
        .input(&presets::PLACES365),
    RenameRule::new("chexpert", "Stanford CheXpert", CLASSIFIER, Mark)
        .needs(&[Root("model_state"), Name(r"^module\.model\.features\.")])
        .input(&presets::CHEXPERT)
        .labels(SIGMOID)
        .note(
            "outputs are independent labels; networks trained with uncertain labels as a third class have three outputs \
             a task, of which the softmax over the last two counts",
        ),
    RenameRule::new("covidprognosis", "CovidPrognosis", NORM5, Mark)
        .needs(&[Name(r"^model\.encoder_q\.features\.")])
        .input(&presets::RAW_255)
        .note("expects gray pictures with an equalized histogram (0 to 255), which is not done here"),
    RenameRule::new("chexploration", "chexploration", NORM5, Mark)
        .needs(&[Name(r"(?:^|\.)fc_disease\.weight$")])
        .input(&presets::RAW_255)
        .note("several heads: one becomes the classifier by a rename, as in --rename '^fc_disease\\.=>classifier.'"),
    RenameRule::new("bamos", "bamos/densenet.pytorch", NORM5, Mark)
        .needs(&[Name(DENSE), NoName(KUANGLIU_TRANSITION)])
        .input(&presets::CIFAR)
        .note("its forward ends in a log-softmax; the logits here are what goes into it"),
    RenameRule::new("andreasveit", "andreasveit/densenet-pytorch", NORM5, Mark)
        .needs(&[Name(BLOCK)])
        .input(&presets::CIFAR_ANDREASVEIT),
    RenameRule::new("R8", "kuangliu/pytorch-cifar", r"^features\.denseblock1\.denselayer1\.", Mark)
        .needs(&[Name(DENSE), Name(KUANGLIU_TRANSITION)])
        .newest_first()
        .input(&presets::CIFAR_KUANGLIU)
        .note("its blocks put new features first: channels were permuted, outputs are the same"),
    RenameRule::new("gpleiss", "efficient_densenet_pytorch", NORM5, Mark)
        .needs(&[
            Name(r"(?:^|\.)features\.norm_final\."),
            Shape(r"(?:^|\.)features\.conv0\.weight$", &[0, 0, 3, 3]),
            NoName(r"(?:^|\.)features\.norm0\."),
        ])
        .input(&presets::CIFAR),
    RenameRule::new("deep-stem", "timm", NORM5, Mark)
        .needs(&[Shape(r"(?:^|\.)features[._]conv2\.weight$", &[0, 0, 3, 3])])
        .input(&presets::TIMM),
];
