// Package source says what can be backed up beside file trees: a Source writes files into a snapshot, in any order, and
// says whether they are complete.
//
// A source knows nothing of repositories. It starts what it needs, such as a dump program or a lock, writes what comes
// of it, and returns nil only when it knows that all of it was there: a program that failed, was killed or wrote no
// trailer must not become a snapshot.
//
//	func (g *greeting) Write(ctx context.Context, out source.Writer) error {
//		f, err := out.Create("/greeting.txt", source.FileNode(0o600))
//		if err != nil {
//			return err
//		}
//		if _, err := io.WriteString(f, "hello\n"); err != nil {
//			return err
//		}
//		return f.Close()
//	}
//
// Package backup has the Writer that makes a snapshot of this, package sourcetest one for tests.
package source
