"""The architectures of the coverage test, by name: what builds each and what it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from benchmarks import coverage_attention as attention
from benchmarks import coverage_convolutions as convolutions
from benchmarks import coverage_designs as designs
from benchmarks import coverage_language as language
from benchmarks import coverage_mobile as mobile
from benchmarks import coverage_other as other
from benchmarks import coverage_pictures as pictures
from benchmarks import coverage_research as research
from benchmarks import coverage_sequences as sequences
from models.records import InputSpec


@dataclass(frozen=True)
class Architecture:
    """One network as a user writes it, with random weights.

    Args:
        build: gives the module.
        inputs: what its forward takes, the first dimension free.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: tuple[InputSpec, ...]

    def module(self) -> nn.Module:
        """The same weights each time, and statistics as after some training."""
        torch.manual_seed(0)
        module = self.build().eval()
        with torch.no_grad():
            for layer in module.modules():
                if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is not None:
                    layer.running_mean.normal_(0, 0.2)
                    assert layer.running_var is not None
                    layer.running_var.uniform_(0.5, 1.5)
        return module


def _floats(**shapes: tuple[int, ...]) -> tuple[InputSpec, ...]:
    return tuple(InputSpec(name=n, dtype="float32", dims=("N", *shape)) for n, shape in shapes.items())


def _ids(high: int, **shapes: tuple[int, ...]) -> tuple[InputSpec, ...]:
    return tuple(InputSpec(name=n, dtype="int64", dims=("N", *shape), high=high) for n, shape in shapes.items())


_IMAGE = _floats(x=(3, 32, 32))

ARCHITECTURES = (
    Architecture("alexnet", convolutions.AlexNet, _IMAGE),
    Architecture("vgg-bn", convolutions.VGG, _IMAGE),
    Architecture("resnet-basic", convolutions.BasicResNet, _IMAGE),
    Architecture("resnet-bottleneck", convolutions.ResNet, _IMAGE),
    Architecture("resnext", lambda: convolutions.ResNet(groups=4, width=16), _IMAGE),
    Architecture("se-resnet", lambda: convolutions.ResNet(se=True), _IMAGE),
    Architecture("wide-resnet", convolutions.WideResNet, _IMAGE),
    Architecture("densenet", convolutions.DenseNet, _IMAGE),
    Architecture("inception", convolutions.Inception, _IMAGE),
    Architecture("xception", mobile.Xception, _IMAGE),
    Architecture("mobilenet-v1", mobile.MobileNetV1, _IMAGE),
    Architecture("mobilenet-v2", mobile.MobileNetV2, _IMAGE),
    Architecture("mobilenet-v3", mobile.mobilenet_v3, _IMAGE),
    Architecture("efficientnet", mobile.efficientnet, _IMAGE),
    Architecture("shufflenet-v1", mobile.ShuffleNetV1, _IMAGE),
    Architecture("shufflenet-v2", mobile.ShuffleNetV2, _IMAGE),
    Architecture("ghostnet", mobile.GhostNet, _IMAGE),
    Architecture("squeezenet", mobile.SqueezeNet, _IMAGE),
    Architecture("regnet", designs.RegNet, _IMAGE),
    Architecture("repvgg", designs.RepVGG, _IMAGE),
    Architecture("convnext", designs.ConvNeXt, _IMAGE),
    Architecture("cbam", designs.Cbam, _IMAGE),
    Architecture("maxout", designs.Maxout, _IMAGE),
    Architecture("normalized-weights", designs.NormalizedWeights, _IMAGE),
    Architecture("big-transfer", designs.BigTransfer, _IMAGE),
    Architecture("instance-style", designs.InstanceStyle, _IMAGE),
    Architecture("eca-net", designs.EcaNet, _IMAGE),
    Architecture("unet", pictures.UNet, _IMAGE),
    Architecture("unet-bilinear", lambda: pictures.UNet(bilinear=True), _IMAGE),
    Architecture("feature-pyramid", pictures.FeaturePyramid, _floats(images=(3, 32, 32))),
    Architecture("ssd", pictures.Ssd, _IMAGE),
    Architecture("yolo", pictures.Yolo, _IMAGE),
    Architecture("fcn", pictures.Fcn, _IMAGE),
    Architecture("deeplab", pictures.DeepLab, _IMAGE),
    Architecture("hrnet", pictures.HrNet, _IMAGE),
    Architecture("edsr", pictures.Edsr, _floats(x=(3, 16, 16))),
    Architecture("tcn", sequences.Tcn, _floats(x=(20, 8))),
    Architecture("wavenet", sequences.WaveNet, _floats(audio=(1, 40), speaker=(4,))),
    Architecture("ecg-net", sequences.EcgNet, _floats(ecg=(12, 64))),
    Architecture("conv-lstm", sequences.ConvLstm, _floats(film=(4, 3, 8, 8))),
    Architecture("crnn", sequences.Crnn, _floats(x=(1, 16, 24))),
    Architecture("sentiment-lstm", sequences.SentimentLstm, _ids(100, text=(12,))),
    Architecture("gru-tagger", sequences.GruTagger, _ids(80, words=(9,))),
    Architecture("elman-loop", sequences.ElmanLoop, _floats(x=(5, 8))),
    Architecture("projected-lstm", sequences.ProjectedLstm, _floats(x=(7, 10), h0=(1, 16), c0=(1, 40))),
    Architecture("char-cnn", sequences.CharCnn, _ids(70, x=(16,))),
    Architecture("seq2seq", attention.Seq2Seq, (*_ids(50, src=(7,)), *_ids(60, trg=(5,)))),
    Architecture("transformer-tutorial", attention.TransformerTutorial, _ids(60, src=(11,))),
    Architecture("full-transformer", attention.FullTransformer, (*_ids(40, src=(8,)), *_ids(40, tgt=(6,)))),
    Architecture("perceiver", attention.CrossAttention, _floats(x=(9, 10))),
    Architecture("vit", attention.ViT, _IMAGE),
    Architecture("swin", attention.Swin, _IMAGE),
    Architecture("mlp-mixer", attention.MlpMixer, _IMAGE),
    Architecture("gpt", language.Gpt, _ids(64, idx=(12,))),
    Architecture("t5", language.T5, _ids(50, input_ids=(10,))),
    Architecture("llama", language.Llama, _ids(64, input_ids=(10,))),
    Architecture("grouped-query", language.GroupedQuery, _ids(48, x=(10,))),
    Architecture("multi-query", language.MultiQuery, _floats(x=(9, 10))),
    Architecture("linear-attention", language.LinearAttention, _IMAGE),
    Architecture("gmlp", language.GMlp, _ids(50, ids=(12,))),
    Architecture("conformer", language.Conformer, _floats(x=(14, 20))),
    Architecture("dcgan", other.DcganGenerator, _floats(z=(16,))),
    Architecture("autoencoder", other.Autoencoder, _floats(x=(1, 16, 16))),
    Architecture("vae", other.Vae, _floats(x=(64,), eps=(12,))),
    Architecture("c3d", other.C3d, _floats(x=(3, 4, 16, 16))),
    Architecture("siamese", other.Siamese, _floats(left=(1, 16, 16), right=(1, 16, 16))),
    Architecture("deep-sets", other.DeepSets, _floats(points=(9, 6), mask=(9,))),
    Architecture("graph-net", other.GraphNet, _floats(x=(7, 8), adj=(7, 7))),
    Architecture("neural-collaborative", other.NeuralCollaborative, (*_ids(100, user=()), *_ids(80, item=()))),
    Architecture("wide-deep", other.WideDeep, (*_ids(7, categories=(3,)), *_floats(numbers=(5,)))),
    Architecture("dlrm", other.Dlrm, (*_floats(dense=(6,)), *_ids(40, sparse=(3,)))),
    Architecture("dueling-dqn", other.DuelingDqn, _floats(state=(4, 32, 32))),
    Architecture("alphazero", other.AlphaZero, _floats(board=(4, 8, 8))),
    Architecture("film", other.Film, (*_floats(image=(3, 16, 16)), *_ids(30, question=(6,)))),
    Architecture("kan", other.Kan, _floats(x=(8,))),
    Architecture("highway", other.HighwayMlp, _floats(x=(10,))),
    Architecture("segnet", research.SegNet, _IMAGE),
    Architecture("stylegan", research.StyleGan, _floats(z=(16,))),
    Architecture("bert", research.Bert, (*_ids(60, input_ids=(10,)), *_ids(2, attention_mask=(10,)))),
    Architecture("ddpm", research.Ddpm, _floats(x=(3, 16, 16), t=())),
    Architecture("mamba", research.Mamba, _floats(x=(12, 10))),
    Architecture("temporal-shift", research.TemporalShift, _floats(film=(8, 3, 16, 16))),
    Architecture("pixel-cnn", research.PixelCnn, _floats(x=(1, 12, 12))),
    Architecture("experts", research.Experts, _floats(x=(16, 20))),
)  # fmt: skip
