package dev.trivet.train;

import dev.trivet.BadInputException;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.DeviceType;

/** What a training's forward and backward passes run on. Parameters, quantization of weights, optimizer and checkpoint are in the processor's memory whatever it is. */
public enum Device {
    /** A GPU where PyTorch has CUDA and finds one, else the processor. */
    AUTO,
    /** The processor, a replica of the model on each thread. */
    CPU,
    /** The first GPU that CUDA finds, one replica. */
    CUDA;

    /**
     * The one in use. For a loaded PyTorch.
     *
     * @throws BadInputException if there is no GPU where one is asked for
     */
    Device inUse() {
        boolean there = this != CPU && torch.cuda_is_available();
        if (this == CUDA && !there) {
            throw new BadInputException(
                    "--device cuda: this PyTorch has no CUDA or finds no GPU; leave the option out, or put"
                            + " PyTorch's natives for CUDA on the class path");
        }
        return there ? CUDA : CPU;
    }

    /** PyTorch's name of it. */
    DeviceType type() {
        return this == CUDA ? DeviceType.CUDA : DeviceType.CPU;
    }

    /** The tensor there: itself if it is. */
    Tensor place(Tensor tensor) {
        return this == CUDA
                ? tensor.to(new org.bytedeco.pytorch.Device(DeviceType.CUDA), tensor.scalar_type())
                : tensor;
    }
}
