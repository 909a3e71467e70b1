package dev.trivet.kernel;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import java.lang.foreign.MemorySegment;

/** The definition of every product, in plain scalar Java: slow, and never wrong about what the others should give. */
public final class ReferenceKernels implements Kernels {
    @Override
    public String name() {
        return "reference";
    }

    @Override
    public String description() {
        return "reference (scalar Java)";
    }

    @Override
    public Workspace openWorkspace() {
        return new Scratch();
    }

    @Override
    public Linear floatLinear(MemorySegment weight, int outputs, int inputs, int typicalRows) {
        float[] w = weight.asSlice(0, 4L * outputs * inputs).toArray(JAVA_FLOAT);
        return new ReferenceLinear() {
            @Override
            public void run(Workspace workspace, MemorySegment in, int rows, MemorySegment out) {
                for (int m = 0; m < rows; m++) {
                    for (int n = 0; n < outputs; n++) {
                        float sum = 0;
                        for (int k = 0; k < inputs; k++) {
                            sum += in.getAtIndex(JAVA_FLOAT, (long) m * inputs + k) * w[n * inputs + k];
                        }
                        out.setAtIndex(JAVA_FLOAT, (long) m * outputs + n, sum);
                    }
                }
            }

            @Override
            public long weightBytes() {
                return (long) Float.BYTES * w.length;
            }
        };
    }

    @Override
    public Linear integerLinear(MemorySegment codes, int outputs, int inputs, int typicalRows) {
        byte[] w = codes.asSlice(0, (long) outputs * inputs).toArray(JAVA_BYTE);
        return new ReferenceLinear() {
            @Override
            public void run(Workspace workspace, MemorySegment in, int rows, MemorySegment out) {
                for (int m = 0; m < rows; m++) {
                    for (int n = 0; n < outputs; n++) {
                        int sum = 0;
                        for (int k = 0; k < inputs; k++) {
                            sum += (in.get(JAVA_BYTE, (long) m * inputs + k) & 0xff) * w[n * inputs + k];
                        }
                        out.setAtIndex(JAVA_INT, (long) m * outputs + n, sum);
                    }
                }
            }

            @Override
            public long weightBytes() {
                return w.length;
            }
        };
    }

    @Override
    public boolean multipliesSideBySide(long scores) {
        return true;
    }

    @Override
    public Matmul floatMatmul(MatmulShape shape) {
        return (workspace, left, right, batch, out) -> {
            for (int b = 0; b < batch; b++) {
                for (int m = 0; m < shape.m(); m++) {
                    for (int n = 0; n < shape.n(); n++) {
                        float sum = 0;
                        for (int k = 0; k < shape.k(); k++) {
                            sum += left.getAtIndex(JAVA_FLOAT, leftIndex(shape, b, m, k))
                                    * right.getAtIndex(JAVA_FLOAT, rightIndex(shape, b, n, k));
                        }
                        out.setAtIndex(JAVA_FLOAT, outIndex(shape, b, m, n), sum);
                    }
                }
            }
        };
    }

    @Override
    public Matmul integerMatmul(MatmulShape shape, boolean leftSigned) {
        return (workspace, left, right, batch, out) -> {
            for (int b = 0; b < batch; b++) {
                for (int m = 0; m < shape.m(); m++) {
                    for (int n = 0; n < shape.n(); n++) {
                        int sum = 0;
                        for (int k = 0; k < shape.k(); k++) {
                            int code = left.get(JAVA_BYTE, leftIndex(shape, b, m, k));
                            sum += (leftSigned ? code : code & 0xff) * right.get(JAVA_BYTE, rightIndex(shape, b, n, k));
                        }
                        out.setAtIndex(JAVA_INT, outIndex(shape, b, m, n), sum);
                    }
                }
            }
        };
    }

    private static long leftIndex(MatmulShape shape, int b, int m, int k) {
        return shape.leftRow(b, m) + k;
    }

    private static long rightIndex(MatmulShape shape, int b, int n, int k) {
        return shape.rightTransposed() ? shape.rightRow(b, n) + k : shape.rightRow(b, k) + n;
    }

    private static long outIndex(MatmulShape shape, int b, int m, int n) {
        return ((long) b * shape.m() + m) * shape.n() + n;
    }

    @Override
    public void close() {}

    private abstract static class ReferenceLinear implements Linear {
        @Override
        public void close() {}
    }

    private static final class Scratch implements Workspace {
        private final Pointwise pointwise = new ReferencePointwise();
        private final ScratchMemory scratch = new ScratchMemory();

        @Override
        public Pointwise pointwise() {
            return pointwise;
        }

        @Override
        public MemorySegment scratch(int slot, long bytes) {
            return scratch.get(slot, bytes);
        }

        @Override
        public void close() {
            scratch.close();
        }
    }
}
