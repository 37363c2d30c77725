package git_test
import ("testing";"fmt";"time";"math/rand";"bytes";"io";"os";"github.com/millrace-cd/millrace/pkg/archive";"os/exec")
func TestPerf(t *testing.T){
 u:=newUpstream(t); r:=rand.New(rand.NewSource(1)); b:=make([]byte,10000)
 for i:=range 5000 { r.Read(b); u.write(fmt.Sprintf("d%d/e%d/f%d",i%50,i%7,i),string(b)) }
 h:=u.commit("x"); g:=openGit(t,"file")
 s:=time.Now(); fetch(t,g,u.dir,h,main); t.Log("fetch",time.Since(s))
 s=time.Now(); fetch(t,g,u.dir,h,main); t.Log("known",time.Since(s))
 u.write("x","y"); h2:=u.commit("y"); s=time.Now(); fetch(t,g,u.dir,h2,main); t.Log("fetch one",time.Since(s))
 for range 2 { var out bytes.Buffer; s=time.Now(); g.Archive(t.Context(),u.dir,h,"",&out); t.Log("archive",out.Len(),time.Since(s))
 s=time.Now(); exec.Command("git","-C",u.dir,"archive","--format=tar",h).Output(); t.Log("git archive",time.Since(s))
 d:=t.TempDir(); root,_:=os.OpenRoot(d); s=time.Now(); _,err:=archive.Extract(&out,root,archive.Source(),archive.Owner); t.Log("extract",time.Since(s),err)
 s=time.Now(); tar,_:=archive.Spool(t.TempDir(),func(w io.Writer)(archive.Stats,error){return g.Archive(t.Context(),u.dir,h,"",w)}); t.Log("spooled",time.Since(s)); tar.Remove() }
}
