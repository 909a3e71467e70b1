package dev.trivet.ptq;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Workspace;

/** One thread's means to work on samples: kernels and buffers. Used and closed by the thread that opened it. */
final class SampleWorker implements AutoCloseable {
    final Workspace workspace;
    final Buffers buffers = new Buffers();

    SampleWorker(Kernels kernels) {
        workspace = kernels.openWorkspace();
        workspace.enter();
    }

    @Override
    public void close() {
        workspace.close();
        buffers.close();
    }
}
